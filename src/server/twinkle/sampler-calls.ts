// The sampling half of a sampler's request: from Twinkle's parameters to the call that every sample is. What is not done here
// is refused by name, never dropped.

import type { EngineInfo } from '../../backends/backend.ts'
import type { Schemas } from '../../generated/operations.ts'
import type { SampleCall } from '../calls.ts'
import { serviceError } from '../errors.ts'
import { seedText } from '../wire/seed.ts'
import type { Feature } from './sampler-inputs.ts'

type Params = Schemas['TwinkleSamplingParams']
type Body = Schemas['TwinkleSampleRequest']

export interface Asked {
  /** Sequences of each input. */
  readonly samples: number
  /** null: as many as there is room for; 0: the prompt is scored, and nothing is drawn. */
  readonly maxTokens: number | null
  /** Pairs of each drawn token, itself included; null: none. */
  readonly logprobs: number | null
  /** Best tokens at each place of the prompt, beside the prompt's own; null: the prompt is not scored. */
  readonly promptLogprobs: number | null
  readonly params: Params
}

const FIELDS = [
  ...['max_tokens', 'max_new_tokens', 'seed', 'stop', 'temperature', 'top_k', 'top_p'],
  ...['repetition_penalty', 'logprobs', 'prompt_logprobs', 'num_samples'],
]
/** Of all inputs together. */
const MOST_SEQUENCES = 1024

/** Throws UNKNOWN_SAMPLING_FIELD, UNSERVED_SAMPLING_VALUE and INVALID_SAMPLING. */
export function askedOf({ sampling_params: given, num_samples: outer }: Body, inputs: number): Asked {
  const params: Params = given ?? {}
  const field = Object.keys(params).find((name) => !FIELDS.includes(name) && params[name] != null)
  if (field !== undefined) throw serviceError('UNKNOWN_SAMPLING_FIELD', { field, fields: FIELDS })
  if ((params.repetition_penalty ?? 1) !== 1) {
    const value = String(params.repetition_penalty)
    throw serviceError('UNSERVED_SAMPLING_VALUE', { field: 'repetition_penalty', value, expected: '1' })
  }
  // Clients of the newest release always send 1 beside the parameters: what stands in them wins.
  const samples = params.num_samples ?? outer ?? 1
  if (samples * inputs > MOST_SEQUENCES) {
    const expected = `so few that all ${inputs} inputs have at most ${MOST_SEQUENCES} sequences together`
    throw serviceError('INVALID_SAMPLING', { field: 'num_samples', value: samples, expected })
  }
  const maxTokens = params.max_tokens ?? params.max_new_tokens ?? null
  const promptLogprobs = params.prompt_logprobs ?? (maxTokens === 0 ? 0 : null)
  return { samples, maxTokens, logprobs: params.logprobs ?? null, promptLogprobs, params }
}

/** @param source What is drawn from. */
export function sampleCallOf(
  { input_ids: ids }: Feature,
  { samples, maxTokens, logprobs, promptLogprobs, params }: Asked,
  source: Pick<SampleCall, 'baseModel' | 'modelPath'>,
  { endTokens }: Pick<EngineInfo, 'endTokens'>,
): SampleCall {
  const { seed, temperature, top_k: topK, top_p: topP } = params
  return {
    ...source,
    prompt: Int32Array.from(ids),
    samples: maxTokens === 0 ? 0 : samples,
    ...(maxTokens !== null && { maxTokens }),
    ...(seed != null && { seed: seedText(seed) }),
    stop: stopsOf(params, endTokens),
    temperature: temperature ?? 1,
    topK: topK == null || topK === -1 ? 0 : topK,
    topP: topP ?? 1,
    promptLogprobs: promptLogprobs !== null,
    topkPromptLogprobs: promptLogprobs ?? 0,
    topkSampleLogprobs: logprobs !== null && logprobs > 1 ? logprobs : 0,
  }
}

/** The model's own ends stop it in any case. */
function stopsOf({ stop }: Params, endTokens: readonly number[]): NonNullable<SampleCall['stop']> {
  const list: readonly (string | number)[] = stop == null ? [] : typeof stop === 'string' ? [stop] : stop
  const strings = list.filter((item) => typeof item === 'string')
  if (strings.includes('')) {
    throw serviceError('INVALID_SAMPLING', { field: 'stop', value: '""', expected: 'texts of at least one character' })
  }
  return { strings, tokens: [...endTokens, ...list.filter((item) => typeof item === 'number')] }
}
