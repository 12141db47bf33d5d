// asample: a JSON body of any SDK becomes one SampleCall, and a call becomes the JSON bytes that the journal keeps.
// Knows the rules of the wire that need no model; vocabulary, context and the engine's limits are checked by those who
// have them. What is described in the API but not served is refused by name, never dropped.

import { LOSSES } from '../../backends/losses.ts'
import type { Schemas } from '../../generated/operations.ts'
import type { SampleCall } from '../calls.ts'
import { serviceError } from '../errors.ts'
import { tokensOfJson } from './model-input.ts'
import { targetsOfJson } from './prompt-targets.ts'
import { seedText } from './seed.ts'

/** Sequences that one request may ask for; the answer to the submit names each of them. */
const MAX_SAMPLES = 1024

const MAX_INT32 = 2 ** 31 - 1

/** `body` has passed its validator, so its types hold; null and absent are the same. */
export function sampleOfJson(body: Schemas['SampleRequest']): SampleCall {
  refuseUnserved(body)
  const params = body.sampling_params
  const prompt = tokensOfJson(body.prompt, 'The prompt')
  const promptLogprobs = body.prompt_logprobs ?? false
  const topK = params.top_k ?? -1
  return {
    ...source(body),
    ...optional('seqId', body.seq_id, (value) => seqId(value)),
    prompt,
    samples: whole('num_samples', body.num_samples ?? 1, 1, MAX_SAMPLES),
    ...optional('maxTokens', params.max_tokens, (value) => whole('max_tokens', value, 0)),
    ...optional('seed', params.seed, seedText),
    ...optional('stop', params.stop, (value) => stopOf(value)),
    temperature: within('temperature', params.temperature ?? 1, (t) => t >= 0, '0 (greedy) or more'),
    topK: topK === -1 ? 0 : whole('top_k', topK, 0),
    topP: within('top_p', params.top_p ?? 1, (p) => p > 0 && p <= 1, 'more than 0, and at most 1'),
    promptLogprobs,
    ...optional('promptLogprobsLastN', body.prompt_logprobs_last_n, (n) => lastN(n, promptLogprobs, prompt.length)),
    topkPromptLogprobs: whole('topk_prompt_logprobs', body.topk_prompt_logprobs ?? 0, 0),
    topkSampleLogprobs: whole('topk_sample_logprobs', body.topk_sample_logprobs ?? 0, 0),
    ...optional('targetPromptLogprobs', body.target_prompt_logprobs, (tensor) => targetsOfJson(tensor, prompt.length)),
    // 0 is the same as absent.
    ...optional('promptAltTokens', body.prompt_alt_tokens_k || null, (k) => whole('prompt_alt_tokens_k', k, 0)),
  }
}

/** Equal calls give equal bytes. */
export function encodeSampleCall(call: SampleCall): Uint8Array {
  const entries = Object.entries({ ...call, prompt: [...call.prompt] })
  return new TextEncoder().encode(JSON.stringify(Object.fromEntries(entries.sort(([a], [b]) => (a < b ? -1 : 1)))))
}

export function decodeSampleCall(bytes: Uint8Array): SampleCall {
  const call = JSON.parse(new TextDecoder().decode(bytes)) as Omit<SampleCall, 'prompt'> & { prompt: number[] }
  return { ...call, prompt: Int32Array.from(call.prompt) }
}

/** What stable_reinforce would need is not kept, as that loss is not served. */
function refuseUnserved({ record_stability_info: record }: Schemas['SampleRequest']): void {
  if (record) throw serviceError('NO_STABILITY_INFO', { losses: Object.keys(LOSSES) })
}

function source(body: Schemas['SampleRequest']): Pick<SampleCall, 'samplingSessionId' | 'baseModel' | 'modelPath'> {
  const named = {
    ...optional('samplingSessionId', body.sampling_session_id, String),
    ...optional('baseModel', body.base_model, String),
    ...optional('modelPath', body.model_path, String),
  }
  if (Object.keys(named).length === 0) throw serviceError('NOTHING_TO_SAMPLE')
  return named
}

/** A field that is left out when it was null or absent. */
function optional<K extends string, A, B>(key: K, value: A | null | undefined, map: (value: A) => B) {
  return (value == null ? {} : { [key]: map(value) }) as { [P in K]?: B }
}

function seqId(value: number | string): string {
  const number = BigInt(value)
  if (number >= 0n && number < 2n ** 63n) return number.toString()
  throw serviceError('INVALID_SAMPLING', { field: 'seq_id', value: String(value), expected: 'from 0 to 2^63 - 1' })
}

/** One text, texts, or token ids; an empty list is no stop at all. */
function stopOf(value: string | readonly string[] | readonly number[]): NonNullable<SampleCall['stop']> {
  const list = typeof value === 'string' ? [value] : value
  const strings = list.filter((item) => typeof item === 'string')
  if (strings.includes('')) {
    throw serviceError('INVALID_SAMPLING', { field: 'stop', value: '""', expected: 'texts of at least one character' })
  }
  const tokens = list.filter((item) => typeof item === 'number').map((token) => whole('stop', token, 0))
  return { strings, tokens }
}

function lastN(n: number, promptLogprobs: boolean, length: number): number {
  if (promptLogprobs && n >= 1 && n < length) return n
  const expected = promptLogprobs
    ? `from 1 to ${length - 1}, one less than the prompt`
    : 'left out, or prompt_logprobs true'
  throw serviceError('INVALID_SAMPLING', { field: 'prompt_logprobs_last_n', value: n, expected })
}

function whole(field: string, value: number, least: number, most = MAX_INT32): number {
  return within(
    field,
    value,
    (n) => Number.isInteger(n) && n >= least && n <= most,
    `a whole number from ${least} to ${most}`,
  )
}

function within(field: string, value: number, holds: (value: number) => boolean, expected: string): number {
  if (Number.isFinite(value) && holds(value)) return value
  throw serviceError('INVALID_SAMPLING', { field, value, expected })
}
