// What a client asks of an adapter in peft's words (LoraConfig), as an adapter of ours. Fields whose value changes nothing are
// passed over, whichever release of peft wrote them; what our engines cannot do is refused by its name. No pattern that came
// from outside is ever matched.

import { serviceError } from '../errors.ts'

export interface LoraRequest {
  readonly rank: number
  /** As given; the scale is alpha / rank, or alpha / sqrt(rank) with rsLoRA. */
  readonly alpha: number
  readonly isRankStabilised: boolean
  readonly trainAttention: boolean
  readonly trainMlp: boolean
  readonly trainUnembed: boolean
}

type Fields = Readonly<Record<string, unknown>>
type Part = 'trainAttention' | 'trainMlp' | 'trainUnembed'

/** An engine trains these as a whole or not at all. */
const PARTS: Readonly<Record<Part, readonly string[]>> = {
  trainAttention: ['q_proj', 'k_proj', 'v_proj', 'o_proj'],
  trainMlp: ['gate_proj', 'up_proj', 'down_proj'],
  trainUnembed: ['lm_head'],
}

/** Defaults of peft. */
const RANK = 8
const ALPHA = 8

/** What may stand in a field that we have nothing for. Empty lists and objects mean nothing either. */
const HARMLESS: Readonly<Record<string, readonly unknown[]>> = {
  peft_type: ['LORA'],
  lora_dropout: [0],
  bias: ['none'],
  init_lora_weights: [true],
  modules_to_save: [],
  exclude_modules: [],
  layers_to_transform: [],
  layers_pattern: [],
  rank_pattern: [],
  alpha_pattern: [],
  target_parameters: [],
  trainable_token_indices: [],
  layer_replication: [],
  use_dora: [false],
  use_qalora: [false],
  lora_bias: [false],
  fan_in_fan_out: [false],
}

/**
 * @param given an object, text that holds one, or null for peft's defaults
 * @throws ServiceError INVALID_LORA_CONFIG, UNSUPPORTED_LORA_FIELD, UNSUPPORTED_LORA_TARGETS
 */
export function loraRequest(given: unknown): LoraRequest {
  const config = fieldsOf(given)
  for (const [field, values] of Object.entries(HARMLESS)) {
    const value = config[field]
    if (isNothing(value) || values.includes(value)) continue
    throw serviceError('UNSUPPORTED_LORA_FIELD', { field, value: JSON.stringify(value), wanted: wanted(values) })
  }
  return {
    rank: number(config, 'r', RANK),
    alpha: number(config, 'lora_alpha', ALPHA),
    isRankStabilised: config.use_rslora === true,
    ...targetsOf(config.target_modules ?? 'all-linear'),
  }
}

/** The scale alpha / rank that an engine has, for either kind of scaling. */
export function alphaOf({ alpha, rank, isRankStabilised }: LoraRequest): number {
  return isRankStabilised ? alpha * Math.sqrt(rank) : alpha
}

/** For people. */
export function describeLora(request: LoraRequest): string {
  const parts = (Object.keys(PARTS) as Part[]).filter((part) => request[part]).flatMap((part) => PARTS[part])
  const scaling = request.isRankStabilised ? ', use_rslora=true' : ''
  return `r=${request.rank}, lora_alpha=${request.alpha}, target_modules=${parts.join(',')}${scaling}`
}

function fieldsOf(given: unknown): Fields {
  if (given === null || given === undefined) return {}
  const value = typeof given === 'string' ? parsed(given) : given
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Fields
  throw serviceError('INVALID_LORA_CONFIG', { problem: 'it is no object' })
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (cause) {
    throw serviceError('INVALID_LORA_CONFIG', { problem: 'it is text that is no JSON' }, { cause })
  }
}

function isNothing(value: unknown): boolean {
  if (value === null || value === undefined) return true
  return typeof value === 'object' && Object.keys(value).length === 0
}

const wanted = (values: readonly unknown[]): string =>
  values.map((value) => JSON.stringify(value)).join(' or ') || 'null'

function number(config: Fields, field: string, fallback: number): number {
  const value = config[field] ?? fallback
  if (typeof value === 'number' && Number.isFinite(value) && value > 0) return value
  throw serviceError('INVALID_LORA_CONFIG', { problem: `${field} must be a number above 0` })
}

function targetsOf(given: unknown): Pick<LoraRequest, Part> {
  if (given === 'all-linear') return { trainAttention: true, trainMlp: true, trainUnembed: false }
  if (!Array.isArray(given) || !given.every((name) => typeof name === 'string')) throw targetsRefused(given)
  const left = new Set<string>(given.map((name: string) => name.split('.').at(-1) as string))
  const takes = (part: Part) => {
    const isWhole = PARTS[part].every((name) => left.has(name))
    if (isWhole) for (const name of PARTS[part]) left.delete(name)
    return isWhole
  }
  const targets = {
    trainAttention: takes('trainAttention'),
    trainMlp: takes('trainMlp'),
    trainUnembed: takes('trainUnembed'),
  }
  if (left.size > 0) throw targetsRefused(given)
  return targets
}

function targetsRefused(given: unknown) {
  const groups = Object.values(PARTS).map((names) => names.join(', '))
  return serviceError('UNSUPPORTED_LORA_TARGETS', {
    targets: JSON.stringify(given) ?? 'nothing',
    groups: groups.join('; '),
  })
}
