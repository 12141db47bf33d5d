/**
 * The architecture of a model in the engine's own words, whatever file it came from, and the reading of
 * config.json in both layouts met in the wild (rope_theta + rope_scaling, and rope_parameters).
 * What is not known for certain to be computed right is refused by name; nothing is guessed.
 */
import { corrupt, unsupported } from './format-error.ts'
import { JsonFields } from './json-fields.ts'

type ModelFamily = 'llama' | 'mistral' | 'qwen2' | 'qwen3'

/** How rotary frequencies differ from theta^(-2i/D); rope.ts computes with it. */
export type RopeScaling =
  | { readonly type: 'none' }
  /** All positions divided by `factor`. */
  | { readonly type: 'linear'; readonly factor: number }
  | {
      readonly type: 'llama3'
      readonly factor: number
      readonly lowFrequencyFactor: number
      readonly highFrequencyFactor: number
      readonly originalContext: number
    }
  /** Frequency i divided by `divisors[i]`, D/2 of them: how GGUF files carry the llama3 scaling. */
  | { readonly type: 'divisors'; readonly divisors: readonly number[] }

export interface ModelConfig {
  readonly family: ModelFamily
  /** As transformers names it, e.g. "LlamaForCausalLM". */
  readonly architecture: string
  readonly hidden: number
  readonly intermediate: number
  readonly layers: number
  readonly heads: number
  readonly kvHeads: number
  readonly headDim: number
  readonly vocabulary: number
  readonly rmsEpsilon: number
  readonly rope: { readonly theta: number; readonly scaling: RopeScaling }
  /** The output projection is the embedding matrix. */
  readonly tied: boolean
  /** q, k and v have a bias (Qwen2). */
  readonly qkvBias: boolean
  /** Each head of q and k is RMS-normalised before the rotation (Qwen3). */
  readonly qkNorm: boolean
  /** Query i sees keys j with i - slidingWindow < j <= i. Absent: all keys up to i. */
  readonly slidingWindow?: number
  /** Longest sequence, in tokens. */
  readonly maxContext: number
  readonly eosTokenIds: readonly number[]
  readonly bosTokenId?: number
}

interface FamilyTraits {
  readonly family: ModelFamily
  readonly qkvBias: boolean
  readonly qkNorm: boolean
  /** What transformers assumes where config.json does not say. */
  readonly defaults: { readonly rmsEpsilon: number; readonly theta: number; readonly slidingWindow?: number }
}

const TRAITS: Readonly<Record<string, FamilyTraits>> = {
  LlamaForCausalLM: { family: 'llama', qkvBias: false, qkNorm: false, defaults: { rmsEpsilon: 1e-6, theta: 10_000 } },
  MistralForCausalLM: {
    family: 'mistral',
    qkvBias: false,
    qkNorm: false,
    defaults: { rmsEpsilon: 1e-6, theta: 10_000, slidingWindow: 4096 },
  },
  Qwen2ForCausalLM: { family: 'qwen2', qkvBias: true, qkNorm: false, defaults: { rmsEpsilon: 1e-6, theta: 10_000 } },
  Qwen3ForCausalLM: { family: 'qwen3', qkvBias: false, qkNorm: true, defaults: { rmsEpsilon: 1e-6, theta: 10_000 } },
}

/** The traits of a supported architecture, by its transformers name. */
export function familyTraits(architecture: string): FamilyTraits {
  return TRAITS[architecture] as FamilyTraits
}

/**
 * Reads config.json. `generation` is generation_config.json, whose end tokens win where it has any, as in transformers.
 * `file` is for messages. Throws FormatError.
 */
export function parseModelConfig(
  file: string,
  json: Record<string, unknown>,
  generation: Record<string, unknown> = {},
): ModelConfig {
  const fields = new JsonFields(file, json)
  const architecture = readArchitecture(file, json)
  if (!Object.hasOwn(TRAITS, architecture)) {
    throw unsupported(file, `architecture ${JSON.stringify(architecture)}`, Object.keys(TRAITS))
  }
  const traits = familyTraits(architecture)
  refuseVariants(file, fields, traits.family)
  const hidden = fields.size('hidden_size')
  const heads = fields.size('num_attention_heads')
  const config: ModelConfig = {
    family: traits.family,
    architecture,
    hidden,
    intermediate: fields.size('intermediate_size'),
    layers: fields.size('num_hidden_layers'),
    heads,
    kvHeads: fields.size('num_key_value_heads', heads),
    headDim: fields.size('head_dim', traits.family === 'qwen3' ? 128 : hidden / heads),
    vocabulary: fields.size('vocab_size'),
    rmsEpsilon: fields.positive('rms_norm_eps', traits.defaults.rmsEpsilon),
    rope: readRope(file, fields, traits.defaults.theta),
    tied: fields.flag('tie_word_embeddings', false),
    qkvBias: traits.qkvBias,
    qkNorm: traits.qkNorm,
    ...readSlidingWindow(file, fields, traits),
    maxContext: fields.size('max_position_embeddings'),
    ...readSpecialIds(file, fields, generation),
  }
  return checkModelConfig(file, config)
}

/** Relations between the numbers that every source must keep. Returns the configuration; throws FormatError. */
export function checkModelConfig(file: string, config: ModelConfig): ModelConfig {
  const { heads, kvHeads, headDim, vocabulary } = config
  if (heads % kvHeads !== 0) throw corrupt(file, `${heads} attention heads cannot share ${kvHeads} key-value heads`)
  if (!Number.isInteger(headDim) || headDim % 2 !== 0) {
    throw corrupt(file, `head dimension ${headDim} is not an even whole number, which rotary positions need`)
  }
  for (const id of [...config.eosTokenIds, ...(config.bosTokenId === undefined ? [] : [config.bosTokenId])]) {
    if (id >= vocabulary) throw corrupt(file, `special token ${id} is outside of the vocabulary of ${vocabulary}`)
  }
  return config
}

function readArchitecture(file: string, json: Record<string, unknown>): string {
  const { architectures } = json
  if (!Array.isArray(architectures) || typeof architectures[0] !== 'string') {
    throw corrupt(file, `has no "architectures" list; supported: ${Object.keys(TRAITS).join(', ')}`)
  }
  return architectures[0]
}

/** Switches that change the computation of a known architecture in ways the engine does not follow. */
function refuseVariants(file: string, fields: JsonFields, family: ModelFamily): void {
  const activation = fields.text('hidden_act', 'silu')
  if (activation !== 'silu') throw unsupported(file, `hidden_act "${activation}"`, ['silu'])
  // Qwen2 always has q, k, v biases and ignores this switch; elsewhere it would add one to o_proj as well.
  if (family !== 'qwen2' && fields.flag('attention_bias', false)) {
    throw unsupported(file, `attention_bias: true for ${family}`, ['attention_bias: false'])
  }
  if (fields.flag('mlp_bias', false)) throw unsupported(file, 'mlp_bias: true', ['mlp_bias: false'])
  if (fields.has('quantization_config')) {
    throw unsupported(file, 'a quantised checkpoint (quantization_config)', ['plain F32, F16 or BF16 weights', 'GGUF'])
  }
}

function readSlidingWindow(file: string, fields: JsonFields, traits: FamilyTraits): { slidingWindow?: number } {
  if (traits.family === 'mistral') {
    if (fields.isNull('sliding_window')) return {}
    return { slidingWindow: fields.size('sliding_window', traits.defaults.slidingWindow) }
  }
  if (fields.flag('use_sliding_window', false)) {
    throw unsupported(file, `use_sliding_window: true for ${traits.family}`, ['use_sliding_window: false'])
  }
  const layerTypes = fields.value('layer_types') ?? []
  if (!Array.isArray(layerTypes) || layerTypes.some((type) => type !== 'full_attention')) {
    throw unsupported(file, `layer_types ${JSON.stringify(layerTypes)}`, ['full_attention for every layer'])
  }
  return {}
}

const ROPE_TYPES = ['default', 'linear', 'llama3'] as const

function readRope(file: string, fields: JsonFields, defaultTheta: number): ModelConfig['rope'] {
  const modern = fields.child('rope_parameters')
  const scaling = modern ?? fields.child('rope_scaling')
  const theta = (modern?.has('rope_theta') ? modern : fields).positive('rope_theta', defaultTheta)
  for (const place of [fields, scaling]) {
    const partial = place?.positive('partial_rotary_factor', 1)
    if (partial !== undefined && partial !== 1) throw unsupported(file, `partial_rotary_factor ${partial}`, ['1'])
  }
  return { theta, scaling: scaling ? readRopeScaling(file, scaling, fields) : { type: 'none' } }
}

function readRopeScaling(file: string, scaling: JsonFields, fields: JsonFields): RopeScaling {
  const type = scaling.text('rope_type', scaling.text('type', 'default'))
  switch (type) {
    case 'default':
      return { type: 'none' }
    case 'linear':
      return { type: 'linear', factor: scaling.positive('factor') }
    case 'llama3':
      return {
        type: 'llama3',
        factor: scaling.positive('factor'),
        lowFrequencyFactor: scaling.positive('low_freq_factor'),
        highFrequencyFactor: scaling.positive('high_freq_factor'),
        originalContext: scaling.size('original_max_position_embeddings', fields.size('max_position_embeddings')),
      }
    default:
      throw unsupported(file, `rope type "${type}"`, ROPE_TYPES)
  }
}

function readSpecialIds(
  file: string,
  fields: JsonFields,
  generation: Record<string, unknown>,
): { eosTokenIds: number[]; bosTokenId?: number } {
  const generationFields = new JsonFields(file, generation)
  const fromGeneration = generationFields.tokenIds('eos_token_id')
  const eosTokenIds = fromGeneration.length > 0 ? fromGeneration : fields.tokenIds('eos_token_id')
  const [bosTokenId] = fields.tokenIds('bos_token_id')
  return bosTokenId === undefined ? { eosTokenIds } : { eosTokenIds, bosTokenId }
}
