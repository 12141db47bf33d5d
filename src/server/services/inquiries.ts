// Where an operation stands whose engine is in another server: asked for by signal, and told by signal by the server that has
// the work. Nobody asks before a client's request has waited its time, so a future costs a question a poll. Questions of one
// tick travel together. Knows whom to ask and what an answer may look like; what a standing is, queue.ts knows.

import type { Kysely } from 'kysely'
import type { Database } from '../store/schema.ts'
import type { Signals } from '../store/signals.ts'
import type { Queue, Standing } from './queue.ts'

/** A server that has the work answers within milliseconds; where none has it nobody does. */
const PATIENCE_MS = 500
/** What PostgreSQL takes in one signal is just below 8000 bytes: so many ids of 40, and standings of less than 700. */
const MOST = { asked: 100, told: 10 }
const LONGEST = { reason: 160, name: 200 }

export interface InquiryParts {
  readonly db: Kysely<Database>
  readonly signals: Signals
  readonly queue: Queue
  readonly log: (cause: unknown, id: string | null) => void
}

export class Inquiries {
  readonly #parts: InquiryParts
  /** By request id: whoever waits for an answer. */
  readonly #waiting = new Map<string, ((standing: Standing | null) => void)[]>()
  #unsent: string[] = []

  constructor(parts: InquiryParts) {
    this.#parts = parts
    parts.signals.on('asked', (ids, isOwn) => isOwn || this.#answer(ids))
    parts.signals.on('told', (standings, isOwn) => isOwn || this.#hear(standings))
  }

  /** Null when it has ended, or no server knows it: no engine of its model is open. */
  async standing(requestId: string): Promise<Standing | null> {
    const { queue, signals } = this.#parts
    return queue.standing(requestId) ?? (signals.isShared ? this.#ask(requestId) : null)
  }

  #ask(requestId: string): Promise<Standing | null> {
    return new Promise((resolve) => {
      const others = this.#waiting.get(requestId)
      if (others) return void others.push(resolve)
      this.#waiting.set(requestId, [resolve])
      if (this.#unsent.push(requestId) === 1) queueMicrotask(() => this.#send())
      setTimeout(() => this.#settle(requestId, null), PATIENCE_MS).unref()
    })
  }

  #send(): void {
    const ids = this.#unsent
    this.#unsent = []
    for (const portion of portions(ids, MOST.asked)) {
      this.#parts.signals.send(this.#parts.db, 'asked', portion).catch((cause) => {
        this.#parts.log(cause, null)
        for (const id of portion) this.#settle(id, null)
      })
    }
  }

  #answer(ids: readonly string[]): void {
    const { queue, signals, db, log } = this.#parts
    const told = ids.slice(0, MOST.asked).flatMap((id) => queue.standing(id) ?? [])
    for (const portion of portions(told, MOST.told)) {
      signals.send(db, 'told', portion).catch((cause) => log(cause, null))
    }
  }

  #hear(standings: readonly unknown[]): void {
    for (const standing of standings) {
      if (isStanding(standing)) this.#settle(standing.requestId, standing)
    }
  }

  #settle(requestId: string, standing: Standing | null): void {
    const waiting = this.#waiting.get(requestId) ?? []
    this.#waiting.delete(requestId)
    for (const resolve of waiting) resolve(standing)
  }
}

function* portions<T>(all: readonly T[], size: number): Iterable<readonly T[]> {
  for (let i = 0; i < all.length; i += size) yield all.slice(i, i + size)
}

const STATES: ReadonlySet<unknown> = new Set<Standing['state']>(['running', 'waiting'])
const QUEUE_STATES: ReadonlySet<unknown> = new Set<Standing['queueState']>([
  ...(['active', 'paused_capacity', 'paused_rate_limit'] as const),
])
const KINDS: ReadonlySet<unknown> = new Set<Standing['kind']>(['training', 'sampling'])

/** Whoever may use the database may send signals: clients are shown nothing that a server would not have said. */
function isStanding(told: unknown): told is Standing {
  const { requestId, tenant, baseModel, kind, state, queueState, position, reason, estimateMs } = Object(
    told,
  ) as Standing
  return (
    [requestId, tenant, baseModel].every((name) => isText(name, LONGEST.name)) &&
    KINDS.has(kind) &&
    STATES.has(state) &&
    QUEUE_STATES.has(queueState) &&
    isCount(position) &&
    (estimateMs === null || isCount(estimateMs)) &&
    (reason === null || isText(reason, LONGEST.reason))
  )
}

const isText = (value: unknown, most: number) => typeof value === 'string' && value.length <= most
const isCount = (value: unknown) => Number.isSafeInteger(value) && (value as number) >= 0
