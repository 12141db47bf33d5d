/**
 * The meaning of a PEFT adapter_config.json: rank, scale, and the many variants that are not plain LoRA.
 * Knows the configuration alone; files and tensors are peft.ts.
 */
import { corrupt, unsupported } from './format-error.ts'
import type { JsonFields } from './json-fields.ts'

export interface PeftConfig {
  readonly baseModel: string | null
  readonly rank: number
  readonly alpha: number
  /** Scale is alpha / sqrt(rank) instead of alpha / rank. */
  readonly rankStabilised: boolean
  /** Dropout of the training that made the adapter; the weights do not depend on it. */
  readonly dropout: number
  /** Exceptions for modules whose path ends in the key, the first that fits. */
  readonly rankPattern: ReadonlyMap<string, number>
  readonly alphaPattern: ReadonlyMap<string, number>
}

/** Ways to start A and B that leave the base model's weights as they are; others change the base as well. */
const HARMLESS_STARTS: readonly unknown[] = [undefined, true, false, 'gaussian', 'eva', 'orthogonal']

/** Switches that must be off: each changes the computation. Off is absent, null, false, an empty list or object. */
const MUST_BE_OFF = [
  'use_dora',
  'lora_bias',
  'modules_to_save',
  'fan_in_fan_out',
  'layer_replication',
  'trainable_token_indices',
  'target_parameters',
  'alora_invocation_tokens',
  'use_qalora',
  'use_bdlora',
  'arrow_config',
  'kasa_config',
  'velora_config',
  'monteclora_config',
]

export function parsePeftConfig(fields: JsonFields): PeftConfig {
  refuseVariants(fields)
  return {
    baseModel: fields.has('base_model_name_or_path') ? fields.text('base_model_name_or_path') : null,
    rank: fields.size('r'),
    alpha: fields.positive('lora_alpha'),
    rankStabilised: fields.flag('use_rslora', false),
    dropout: fields.has('lora_dropout') && fields.value('lora_dropout') !== 0 ? fields.positive('lora_dropout') : 0,
    rankPattern: readPattern(fields, 'rank_pattern'),
    alphaPattern: readPattern(fields, 'alpha_pattern'),
  }
}

/** Factor of a module's low-rank term. Throws a FormatError if its tensors have another rank than configured. */
export function moduleScale(file: string, config: PeftConfig, module: string, rank: number): number {
  const configured = lookUp(config.rankPattern, module) ?? config.rank
  if (rank !== configured) {
    throw corrupt(file, `says rank ${configured} for module "${module}", but its tensors have rank ${rank}`)
  }
  const alpha = lookUp(config.alphaPattern, module) ?? config.alpha
  return alpha / (config.rankStabilised ? Math.sqrt(rank) : rank)
}

function refuseVariants(fields: JsonFields): void {
  const { file } = fields
  const type = fields.text('peft_type')
  if (type !== 'LORA') throw unsupported(file, `peft_type "${type}"`, ['LORA'])
  const bias = fields.text('bias', 'none')
  if (bias !== 'none') throw unsupported(file, `bias "${bias}"`, ['none'])
  const start = fields.value('init_lora_weights')
  if (!HARMLESS_STARTS.includes(start)) {
    throw unsupported(file, `init_lora_weights ${JSON.stringify(start)}, which changes the base model's weights`, [
      'true',
      'false',
      'gaussian',
      'eva',
      'orthogonal',
    ])
  }
  for (const name of MUST_BE_OFF) {
    const value = fields.value(name)
    if (!isOff(value)) throw unsupported(file, `${name}: ${JSON.stringify(value)}`, ['plain LoRA'])
  }
}

function isOff(value: unknown): boolean {
  if (value === undefined || value === false) return true
  return typeof value === 'object' && value !== null && Object.keys(value).length === 0
}

/** PEFT reads keys as regular expressions; a stranger's expression can run for ever, so only plain paths are read. */
function readPattern(fields: JsonFields, name: string): Map<string, number> {
  const pattern = fields.table(name, 'positive numbers', (value): value is number => {
    return typeof value === 'number' && Number.isFinite(value) && value > 0
  })
  for (const key of pattern.keys()) {
    if (!/^[\w.]+$/.test(key))
      throw unsupported(fields.file, `${name} key ${JSON.stringify(key)}`, ['plain module paths'])
  }
  return pattern
}

function lookUp(pattern: ReadonlyMap<string, number>, module: string): number | undefined {
  for (const [key, value] of pattern) {
    if (module === key || module.endsWith(`.${key}`)) return value
  }
  return undefined
}
