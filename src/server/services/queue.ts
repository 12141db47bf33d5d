// What waits and why: for those who wait (pending answers of retrieve_future) and for those who look on (metrics, ps). It
// asks whoever has the work; nothing is kept here. Work whose engine is in another server is not known here: inquiries.ts asks.

import type { Standing as Place } from '../scheduler/standing.ts'

export type QueueState = 'active' | 'paused_capacity' | 'paused_rate_limit'

/** Where one acknowledged operation stands. */
export interface Standing {
  readonly requestId: string
  readonly tenant: string
  readonly baseModel: string
  readonly kind: 'training' | 'sampling'
  readonly state: 'running' | 'waiting'
  readonly queueState: QueueState
  /** Operations ahead of it, of everybody; 0 when it runs. */
  readonly position: number
  /** A part of a sentence; null when there is nothing to say. */
  readonly reason: string | null
  /** Until its turn comes; 0 when it runs, null when nobody can know. */
  readonly estimateMs: number | null
}

/** One line of work before one engine. */
export interface QueueLine {
  readonly baseModel: string
  readonly kind: Standing['kind']
  readonly running: number
  readonly waiting: number
  /** Tenants that have something running or waiting. */
  readonly tenants: number
  /** Of late, while it had anything to do; null when nothing is known. */
  readonly tokensPerSecond: number | null
}

export interface QueueSource {
  standing(requestId: string): Standing | null
  lines(): QueueLine[]
  /** What has not ended: what runs first, then in no particular order. */
  open(): Iterable<string>
}

export class Queue {
  readonly #sources: readonly QueueSource[]
  constructor(sources: readonly QueueSource[]) {
    this.#sources = sources
  }

  /** Null when it has ended, or waits in another server. */
  standing(requestId: string): Standing | null {
    for (const source of this.#sources) {
      const standing = source.standing(requestId)
      if (standing) return standing
    }
    return null
  }

  /** Of all lines, and of at most `limit` operations, those of one tenant where it is given. */
  snapshot({ limit = 100, tenant }: { readonly limit?: number; readonly tenant?: string } = {}): {
    readonly lines: readonly QueueLine[]
    readonly operations: readonly Standing[]
  } {
    const operations: Standing[] = []
    for (const source of this.#sources) {
      for (const id of source.open()) {
        if (operations.length >= limit) break
        const standing = source.standing(id)
        if (standing && (tenant === undefined || standing.tenant === tenant)) operations.push(standing)
      }
    }
    return { lines: this.#sources.flatMap((source) => source.lines()), operations }
  }
}

/** What a standing means depends on more than the order of work. */
export interface Circumstances {
  readonly isRestarting: boolean
  /** Tokens a millisecond of late; null = not known. */
  readonly rate: number | null
  /** Limits of its tenant. */
  readonly tokensPerMinute: number | null
  readonly concurrentSamples: number | null
}

/** A standing as those who wait hear of it. */
export function inWords(
  of: Pick<Standing, 'requestId' | 'tenant' | 'baseModel' | 'kind'>,
  place: Place,
  { isRestarting, rate, tokensPerMinute, concurrentSamples }: Circumstances,
): Standing {
  const waiting = (position: number, estimateMs: number | null, queueState: QueueState, reason: string): Standing => {
    return { ...of, state: 'waiting', position, estimateMs: estimateMs && Math.ceil(estimateMs), queueState, reason }
  }
  const restarting = `the engine of ${of.baseModel} is restarting`
  switch (place.state) {
    case 'running': {
      const running = { ...of, state: 'running', position: 0, estimateMs: 0 } as const
      if (isRestarting) return { ...running, queueState: 'paused_capacity', reason: restarting }
      return { ...running, queueState: 'active', reason: null }
    }
    case 'early':
      return waiting(0, null, 'active', `waiting for request number ${place.number} of this model, which has not come`)
    case 'full': {
      const reason = `over its limit of ${concurrentSamples} sequences drawn at the same time`
      return waiting(place.ahead, null, 'paused_rate_limit', reason)
    }
    case 'held': {
      const estimate = Number.isFinite(place.waitMs) ? place.waitMs : null
      const reason = `over its limit of ${tokensPerMinute} ${of.kind} tokens a minute`
      return waiting(place.ahead, estimate, 'paused_rate_limit', reason)
    }
    case 'waiting': {
      const { ahead, others, cost } = place
      const estimate = rate === null ? null : cost / rate
      if (isRestarting) return waiting(ahead, null, 'paused_capacity', restarting)
      return waiting(ahead, estimate, others ? 'paused_capacity' : 'active', behind(ahead, others))
    }
  }
}

function behind(ahead: number, others: number): string {
  const operations = ahead === 1 ? '1 operation' : `${ahead} operations`
  if (others === 0) return ahead === 0 ? 'next' : `behind ${operations} of its own tenant`
  return `behind ${operations}, ${others === 1 ? '1 other tenant' : `${others} other tenants`} among their owners`
}
