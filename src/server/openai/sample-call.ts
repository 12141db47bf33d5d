// The sampling half of OpenAI's requests: from their fields to the call that every sample is. Knows numbers and stops; knows
// nothing of messages or of how answers are written.

import type { Schemas } from '../../generated/operations.ts'
import type { SampleCall } from '../calls.ts'
import { serviceError } from '../errors.ts'
import { seedText } from '../wire/seed.ts'
import { unserved } from './fields.ts'
import type { OpenModel } from './model.ts'

type Shared = 'n' | 'temperature' | 'top_p' | 'top_k' | 'seed' | 'stop'
type Fields = Pick<Schemas['CompletionRequest'], Shared>

export interface Asked {
  readonly prompt: Int32Array
  /** Null: up to the end of the context. 0 only scores the prompt. */
  readonly maxTokens: number | null
  /** Best tokens to report at each place of an answer. */
  readonly best: number
  readonly scorePrompt?: boolean
}

/** Throws CONTEXT_TOO_LONG. */
export function sampleCall(fields: Fields, model: OpenModel, asked: Asked): SampleCall {
  const { prompt, maxTokens, best, scorePrompt = false } = asked
  checkRoom(model, prompt.length, maxTokens)
  const { top_k: topK } = fields
  return {
    ...model.source,
    prompt,
    samples: maxTokens === 0 ? 0 : (fields.n ?? 1),
    ...(maxTokens !== null && { maxTokens }),
    ...(fields.seed != null && { seed: seedText(fields.seed) }),
    stop: { strings: stopsOf(fields), tokens: model.info.endTokens },
    temperature: fields.temperature ?? 1,
    topK: topK == null || topK === -1 ? 0 : topK,
    topP: fields.top_p ?? 1,
    promptLogprobs: scorePrompt,
    topkPromptLogprobs: scorePrompt ? best : 0,
    topkSampleLogprobs: best,
  }
}

export function stopsOf({ stop }: Pick<Fields, 'stop'>): readonly string[] {
  return stop == null ? [] : typeof stop === 'string' ? [stop] : stop
}

/** Throws UNSERVED_VALUE for more best tokens than the engine reports. */
export function bestOf(field: string, value: number | null | undefined, { info }: OpenModel): number {
  const most = Math.min(info.maxTopK, info.vocabulary)
  if (value != null && value > most) throw unserved(field, value, `from 0 to ${most}`)
  return value ?? 0
}

/** Throws CONTEXT_TOO_LONG for a text that cannot fit, whatever its tokens are: no time is spent on it. */
export function checkLength(model: OpenModel, text: string): void {
  const least = Math.ceil(Buffer.byteLength(text) / model.text.longestToken)
  if (least > model.info.maxContext) throw tooLong(model, `at least ${least}`, 'some')
}

function checkRoom(model: OpenModel, prompt: number, maxTokens: number | null): void {
  const { maxContext } = model.info
  // Without a limit at least one token must have room.
  if (prompt + (maxTokens ?? 1) > maxContext) throw tooLong(model, prompt, maxTokens ?? 'some')
}

/** `prompt` and `asked` in tokens, or in words. */
export function tooLong({ name: model, info }: OpenModel, prompt: number | string, asked: number | string) {
  return serviceError('CONTEXT_TOO_LONG', { prompt, asked, model, context: info.maxContext })
}
