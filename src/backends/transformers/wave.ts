// A request on its way through the generator, and the parts it is sampled in: a wave is as many of its sequences as may
// run at once. Each wave prefills the prompt for itself, which gives the same bits every time.

import type { GenerationEvent, GenerationRequest } from '../backend.ts'
import type { EventQueue } from '../event-queue.ts'
import type { AdapterWeights } from './adapter.ts'
import { type Key, keyOfSeed } from './philox.ts'

export interface Job {
  readonly request: GenerationRequest
  readonly snapshot: AdapterWeights | null
  readonly key: Key
  readonly events: EventQueue<GenerationEvent>
  /** Waves that have not started. A job queues one at a time, so that many samples do not keep others waiting. */
  readonly later: Wave[]
  /** Waves that are not over. */
  open: number
}

export interface Wave {
  readonly job: Job
  /** Index of the first sequence, and how many. */
  readonly first: number
  readonly count: number
  /** Sequences that are not over. */
  open: number
}

/** The first wave of a job in waves of at most `rows` sequences; a request without sequences is one wave. */
export function firstWave(
  request: GenerationRequest,
  snapshot: AdapterWeights | null,
  events: EventQueue<GenerationEvent>,
  rows: number,
): Wave {
  const count = Math.max(1, Math.ceil(request.samples / rows))
  const key = keyOfSeed(isDrawing(request) ? request.seed : '0')
  const job: Job = { request, snapshot, key, events, later: [], open: count }
  for (let i = 0; i < count; i++) {
    const first = i * rows
    const size = Math.min(rows, request.samples - first)
    job.later.push({ job, first, count: size, open: size })
  }
  return job.later.shift() as Wave
}

/** Whether seed and temperature of a request mean anything. */
export const isDrawing = ({ samples, promptDraws = 0 }: GenerationRequest): boolean => samples > 0 || promptDraws > 0

/** Tokens a sequence of this request may hold at most. */
export const longest = ({ prompt, samples, maxTokens }: GenerationRequest): number =>
  prompt.length + (samples > 0 ? maxTokens : 0)
