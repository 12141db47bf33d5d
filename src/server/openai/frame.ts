// What every answer and every chunk of one request has around its choices: id, time, model; and the usage at the end. Tokens
// are counted as the ledger counts them.

import { createHash, randomBytes } from 'node:crypto'
import type { Schemas } from '../../generated/operations.ts'
import type { SampleCall, SampleReply } from '../calls.ts'
import type { OpenModel } from './model.ts'

export interface Frame {
  readonly id: string
  readonly created: number
  readonly model: string
  readonly system_fingerprint: string
}

export function frameOf(prefix: 'chatcmpl' | 'cmpl', { name, info }: OpenModel): Frame {
  return {
    id: `${prefix}-${randomBytes(12).toString('hex')}`,
    created: Math.floor(Date.now() / 1000),
    model: name,
    // With the same seed this says whether the same tokens are to be expected.
    system_fingerprint: `fp_${createHash('sha256').update(info.runtime).digest('hex').slice(0, 10)}`,
  }
}

export function usageOf(calls: readonly SampleCall[], replies: readonly SampleReply[]): Schemas['CompletionUsage'] {
  const sum = (numbers: readonly number[]) => numbers.reduce((total, number) => total + number, 0)
  const prompt = sum(calls.map((call) => call.prompt.length))
  const drawn = sum(replies.flatMap(({ sequences }) => sequences.map(({ tokens }) => tokens.length)))
  return {
    prompt_tokens: prompt,
    completion_tokens: drawn,
    total_tokens: prompt + drawn,
    prompt_tokens_details: { cached_tokens: sum(replies.map((reply) => reply.promptCacheHitTokens)) },
  }
}
