// What a sampler answers: sequences with their text, pairs of token and log-probability, and rows that can be trained on as
// they are.

import type { TopK } from '../../backends/backend.ts'
import { sizeOf } from '../../catalogue/datasets/size.ts'
import type { Template } from '../../catalogue/templates/index.ts'
import type { Schemas } from '../../generated/operations.ts'
import type { SampleReply } from '../calls.ts'
import { serviceError } from '../errors.ts'
import type { Asked } from './sampler-calls.ts'
import type { Feature } from './sampler-inputs.ts'

type Sample = Schemas['TwinkleSample']
type Pairs = [number, number][]

const MOST_BYTES = 128 * 2 ** 20

/** Each sequence brings its whole row. Throws SAMPLES_TOO_LARGE. */
export function checkSize(features: readonly Feature[], { samples }: Asked): void {
  const bytes = features.reduce((sum, feature) => sum + sizeOf(feature), 0) * samples
  if (bytes > MOST_BYTES) throw serviceError('SAMPLES_TOO_LARGE', { limit: MOST_BYTES })
}

export function sampleOf(feature: Feature, asked: Asked, reply: SampleReply, template: Template): Sample {
  return {
    sequences: asked.maxTokens === 0 ? scoredOnly(feature, asked) : sequencesOf(feature, asked, reply, template),
    prompt_logprobs: reply.promptLogprobs ? Array.from(reply.promptLogprobs, numberOrNull) : null,
    topk_prompt_logprobs: reply.promptTopk ? topkOfPrompt(reply.promptTopk, feature.input_ids.length) : null,
  }
}

/** As many sequences as were asked for, without a token. */
function scoredOnly(feature: Feature, { samples }: Asked): Sample['sequences'] {
  const sequence = {
    stop_reason: 'length' as const,
    tokens: [],
    logprobs: null,
    decoded: '',
    new_input_feature: { ...feature },
  }
  return Array.from({ length: samples }, () => sequence)
}

function sequencesOf(
  feature: Feature,
  { logprobs }: Asked,
  reply: SampleReply,
  template: Template,
): Sample['sequences'] {
  return reply.sequences.map(({ tokens: drawn, logprobs: own, topk, stopReason }) => {
    const tokens = [...drawn]
    return {
      stop_reason: stopReason,
      tokens,
      logprobs:
        logprobs === null ? null : tokens.map((token, i) => pairsOf(token, own[i] as number, topk, i, logprobs)),
      decoded: template.decode(tokens),
      new_input_feature: { ...template.extend(feature, tokens) },
    }
  })
}

/** The drawn token first, then the best of the others, so many in all. */
function pairsOf(token: number, logprob: number, topk: TopK | undefined, row: number, most: number): Pairs {
  const others = topk ? rowOf(topk, row).filter(([id]) => id !== token) : []
  return [[token, logprob], ...others.slice(0, Math.max(0, most - 1))]
}

/** Nothing comes before the first token. */
function topkOfPrompt(topk: TopK, length: number): (Pairs | null)[] {
  return Array.from({ length }, (_, row) => (row === 0 ? null : rowOf(topk, row)))
}

function rowOf({ k, ids, logprobs }: TopK, row: number): Pairs {
  return Array.from({ length: k }, (_, i): [number, number] => [
    ids[row * k + i] as number,
    logprobs[row * k + i] as number,
  ])
}

const numberOrNull = (logprob: number): number | null => (Number.isNaN(logprob) ? null : logprob)
