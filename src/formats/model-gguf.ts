/**
 * A base model in one .gguf file, presented like a Hugging Face folder: metadata becomes the configuration, tensor
 * names and row orders become Hugging Face's. Tokenizer files come from gguf-tokenizer.ts.
 */
import * as path from 'node:path'
import { corrupt, unsupported } from './format-error.ts'
import { type GgufFile, readGguf } from './gguf.ts'
import { GgufMetadata } from './gguf-metadata.ts'
import { ggufTokenizerFiles } from './gguf-tokenizer.ts'
import { hashFiles } from './hugging-face-folder.ts'
import { checkModelConfig, familyTraits, type ModelConfig, type RopeScaling } from './model-config.ts'
import type { ModelFiles } from './model-folder.ts'
import { checkTensors, expectedTensors } from './model-tensors.ts'
import type { LazyTensor } from './tensor.ts'

/** GGUF architecture -> the transformers class it was converted from. Mistral models are stored as llama. */
const ARCHITECTURES: Readonly<Record<string, string>> = {
  llama: 'LlamaForCausalLM',
  qwen2: 'Qwen2ForCausalLM',
  qwen3: 'Qwen3ForCausalLM',
}

const GLOBAL_NAMES: Readonly<Record<string, string>> = {
  token_embd: 'model.embed_tokens',
  output_norm: 'model.norm',
  output: 'lm_head',
}

const LAYER_NAMES: Readonly<Record<string, string>> = {
  attn_norm: 'input_layernorm',
  ffn_norm: 'post_attention_layernorm',
  attn_q: 'self_attn.q_proj',
  attn_k: 'self_attn.k_proj',
  attn_v: 'self_attn.v_proj',
  attn_output: 'self_attn.o_proj',
  attn_q_norm: 'self_attn.q_norm',
  attn_k_norm: 'self_attn.k_norm',
  ffn_gate: 'mlp.gate_proj',
  ffn_up: 'mlp.up_proj',
  ffn_down: 'mlp.down_proj',
}

/** Not a weight: the rotary frequency divisors of a Llama 3 model. */
const ROPE_DIVISORS = 'rope_freqs.weight'

export function openModelGguf(ggufPath: string): ModelFiles {
  const file = path.resolve(ggufPath)
  const gguf = readGguf(file)
  const metadata = new GgufMetadata(file, gguf.metadata)
  const config = readConfig(gguf, metadata)
  const tensors = huggingFaceTensors(gguf, config)
  checkTensors(file, config, tensors)
  return {
    path: file,
    kind: 'gguf',
    config,
    names: () => [...expectedTensors(config).keys()].sort(),
    tensor(name) {
      const tensor = tensors.get(name)
      if (!tensor) throw corrupt(file, `has no tensor "${name}"`)
      return tensor
    },
    contentHash: () => hashFiles([file]),
    tokenizerFiles: () => ggufTokenizerFiles(metadata, config),
  }
}

function readConfig(gguf: GgufFile, metadata: GgufMetadata): ModelConfig {
  const { file } = gguf
  const name = metadata.text('general.architecture')
  const architecture = Object.hasOwn(ARCHITECTURES, name) ? ARCHITECTURES[name] : undefined
  if (!architecture) throw unsupported(file, `GGUF architecture "${name}"`, Object.keys(ARCHITECTURES))
  const { family, qkvBias, qkNorm } = familyTraits(architecture)
  const heads = metadata.size(`${name}.attention.head_count`)
  const hidden = metadata.size(`${name}.embedding_length`)
  const headDim = metadata.size(`${name}.attention.key_length`, hidden / heads)
  const slidingWindow = metadata.number(`${name}.attention.sliding_window`, 0)
  if (slidingWindow !== 0 && family !== 'llama')
    throw unsupported(file, 'a sliding window in this architecture', ['none'])
  requireEqual(file, 'attention.value_length', metadata.size(`${name}.attention.value_length`, headDim), headDim)
  requireEqual(file, 'rope.dimension_count', metadata.size(`${name}.rope.dimension_count`, headDim), headDim)
  const config: ModelConfig = {
    family,
    architecture,
    hidden,
    intermediate: metadata.size(`${name}.feed_forward_length`),
    layers: metadata.size(`${name}.block_count`),
    heads,
    kvHeads: metadata.size(`${name}.attention.head_count_kv`, heads),
    headDim,
    vocabulary: metadata.texts('tokenizer.ggml.tokens').length,
    rmsEpsilon: shortestDecimal(metadata.number(`${name}.attention.layer_norm_rms_epsilon`)),
    rope: {
      theta: shortestDecimal(metadata.number(`${name}.rope.freq_base`, 10_000)),
      scaling: readScaling(gguf, metadata, name, headDim),
    },
    tied: !gguf.tensors.has('output.weight'),
    qkvBias,
    qkNorm,
    ...(slidingWindow === 0 ? {} : { slidingWindow }),
    maxContext: metadata.size(`${name}.context_length`),
    ...readSpecialIds(metadata),
  }
  return checkModelConfig(file, config)
}

function readScaling(gguf: GgufFile, metadata: GgufMetadata, name: string, headDim: number): RopeScaling {
  const divisors = gguf.tensors.get(ROPE_DIVISORS)
  if (divisors) {
    requireEqual(gguf.file, `the length of ${ROPE_DIVISORS}`, divisors.shape[0] ?? 0, headDim / 2)
    return { type: 'divisors', divisors: [...divisors.read()] }
  }
  const type = metadata.text(`${name}.rope.scaling.type`, 'none')
  if (type === 'none') return { type: 'none' }
  if (type === 'linear') return { type: 'linear', factor: metadata.number(`${name}.rope.scaling.factor`) }
  throw unsupported(gguf.file, `rope scaling "${type}"`, ['none', 'linear', `divisors (${ROPE_DIVISORS})`])
}

/** Chat models end a turn with a token of its own beside the end of text: both end a sample. */
function readSpecialIds(metadata: GgufMetadata): { eosTokenIds: number[]; bosTokenId?: number } {
  const ends = ['eos', 'eot'].map((kind) => metadata.number(`tokenizer.ggml.${kind}_token_id`, -1))
  const eosTokenIds = [...new Set(ends.filter((id) => id >= 0))]
  const bosTokenId = metadata.number('tokenizer.ggml.bos_token_id', -1)
  return bosTokenId < 0 ? { eosTokenIds } : { eosTokenIds, bosTokenId }
}

function huggingFaceTensors(gguf: GgufFile, config: ModelConfig): Map<string, LazyTensor> {
  const tensors = new Map<string, LazyTensor>()
  for (const tensor of gguf.tensors.values()) {
    if (tensor.name === ROPE_DIVISORS) continue
    const name = huggingFaceName(gguf.file, tensor.name)
    tensors.set(name, { ...undoRotaryOrder(tensor, name, config), name })
  }
  return tensors
}

function huggingFaceName(file: string, name: string): string {
  const parts = /^(?:blk\.(\d+)\.)?(\w+)\.(weight|bias)$/.exec(name)
  const [, layer, module = '', kind] = parts ?? []
  const names = layer === undefined ? GLOBAL_NAMES : LAYER_NAMES
  if (!Object.hasOwn(names, module))
    throw unsupported(file, `tensor "${name}"`, Object.keys({ ...GLOBAL_NAMES, ...LAYER_NAMES }))
  return layer === undefined ? `${names[module]}.${kind}` : `model.layers.${layer}.${names[module]}.${kind}`
}

/**
 * GGUF stores q and k of the llama architecture for rotations of neighbouring pairs (2i, 2i+1) of a head; Hugging Face
 * rotates (i, i + D/2). Rows of each head are put back: GGUF row 2i + s is row s D/2 + i.
 */
function undoRotaryOrder(tensor: LazyTensor, name: string, config: ModelConfig): LazyTensor {
  if (config.family !== 'llama' || !/self_attn\.[qk]_proj\.(weight|bias)$/.test(name)) return tensor
  const { shape, dtype } = tensor
  const columns = shape[1] ?? 1
  return { name, shape, dtype, read: () => unpermute(tensor.read(), config.headDim, columns) }
}

function unpermute(source: Float32Array, headDim: number, columns: number): Float32Array {
  const out = new Float32Array(source.length)
  const rows = source.length / columns
  for (let row = 0; row < rows; row++) {
    const within = row % headDim
    const target = row - within + (within % 2) * (headDim / 2) + (within >> 1)
    out.set(source.subarray(row * columns, (row + 1) * columns), target * columns)
  }
  return out
}

/** GGUF keeps float32; 9.999999747378752e-6 was 1e-5 in config.json: the shortest decimal with the same float32. */
function shortestDecimal(value: number): number {
  for (let digits = 1; digits < 9; digits++) {
    const candidate = Number(value.toPrecision(digits))
    if (Math.fround(candidate) === Math.fround(value)) return candidate
  }
  return value
}

function requireEqual(file: string, what: string, found: number, expected: number): void {
  if (found !== expected) throw unsupported(file, `${what} ${found}`, [`${expected}`])
}
