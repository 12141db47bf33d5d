// Which samples of a sampling session have ended: one poll for all of them (retrieve_futures) instead of one for each. A log
// is kept only for those who poll; the journal knows everything, so a log can be begun at any time. Positions are
// microseconds since 1970, made unique: they go on upwards after a restart, which the client's cursor relies on.

import type { Kysely } from 'kysely'
import type { Database } from '../store/schema.ts'
import type { Futures } from './futures.ts'
import type { Sessions } from './sessions.ts'

export interface SamplePoll {
  readonly samplingSession: string
  /** Only of this client of the sampling session: its sequence numbers divided by 10^9, in decimal. Absent: of all. */
  readonly copy?: string
  /** The cursor of the last answer; 0 at first. What lies before it has been heard and is forgotten. */
  readonly cursor: number
  readonly holdMs: number
}

export interface SampleEnd {
  readonly position: number
  readonly id: string
  readonly state: 'finished' | 'failed'
}

interface Log {
  events: SampleEnd[]
  readonly waiters: Set<() => void>
  readonly loaded: Promise<void>
}

/** What ended this long before a cursor of an earlier run of the server is told again: the clocks of both may differ. */
const OVERLAP_MS = 1000
const PER_COPY = 10n ** 9n

export class SampleEvents {
  readonly #db: Kysely<Database>
  /** By sampling session, then by copy. */
  readonly #logs = new Map<string, Map<string, Log>>()
  #last = 0

  constructor(db: Kysely<Database>, futures: Futures, sessions: Sessions) {
    this.#db = db
    futures.onEnd((id) => void this.#ended(id))
    sessions.onEnd((session) => this.#forget(session))
  }

  /** Ends after the cursor, held until there are some, `holdMs` pass or `signal` aborts. The owner has been checked. */
  async poll(poll: SamplePoll, signal: AbortSignal): Promise<{ ends: readonly SampleEnd[]; cursor: number }> {
    const log = this.#log(poll)
    await log.loaded
    log.events = log.events.filter((event) => event.position > poll.cursor)
    if (!log.events.length && poll.holdMs > 0) await wait(log.waiters, poll.holdMs, signal)
    const ends = log.events.filter((event) => event.position > poll.cursor)
    return { ends, cursor: ends.at(-1)?.position ?? poll.cursor }
  }

  /** Answers everybody who waits; the server is closing. */
  endWaiting(): void {
    for (const logs of this.#logs.values())
      for (const { waiters } of logs.values()) for (const wake of [...waiters]) wake()
  }

  #log({ samplingSession, copy = ALL, cursor }: SamplePoll): Log {
    const logs = this.#logs.get(samplingSession) ?? new Map<string, Log>()
    this.#logs.set(samplingSession, logs)
    const known = logs.get(copy)
    if (known) return known
    const log: Log = {
      events: [],
      waiters: new Set(),
      loaded: Promise.resolve().then(() => this.#load(log, samplingSession, copy, cursor)),
    }
    logs.set(copy, log)
    return log
  }

  /** What ended before this log was begun; what ends meanwhile comes by `#ended`. */
  async #load(log: Log, samplingSession: string, copy: string, cursor: number): Promise<void> {
    const since = cursor === 0 ? 0 : Math.floor(cursor / 1000) - OVERLAP_MS
    const rows = await this.#db
      .selectFrom('operations')
      .select(['id', 'state', 'identity'])
      .where('subject', '=', samplingSession)
      .where('kind', '=', 'sample')
      .where('finished_at', '>=', since)
      .orderBy('finished_at')
      .execute()
    const known = new Set(log.events.map((event) => event.id))
    for (const { id, state, identity } of rows) {
      if (!known.has(id) && isOf(copy, identity)) log.events.push(this.#event(id, state))
    }
  }

  async #ended(id: string): Promise<void> {
    if (!this.#logs.size) return
    const row = await this.#db
      .selectFrom('operations')
      .select(['subject', 'state', 'identity'])
      .where('id', '=', id)
      .executeTakeFirst()
    for (const [copy, log] of this.#logs.get(row?.subject ?? '') ?? []) {
      if (!row || !isOf(copy, row.identity) || log.events.some((event) => event.id === id)) continue
      log.events.push(this.#event(id, row.state))
      for (const wake of [...log.waiters]) wake()
    }
  }

  #event(id: string, state: string): SampleEnd {
    this.#last = Math.max(this.#last + 1, Date.now() * 1000)
    return { position: this.#last, id, state: state === 'done' ? 'finished' : 'failed' }
  }

  #forget(session: string): void {
    for (const [samplingSession, logs] of this.#logs) {
      if (!samplingSession.startsWith(`${session}:`)) continue
      this.#logs.delete(samplingSession)
      for (const { waiters } of logs.values()) for (const wake of [...waiters]) wake()
    }
  }
}

const ALL = '*'

/** The identity of a sample ends with its sequence number. */
function isOf(copy: string, identity: string | null): boolean {
  const [, seq] = /:(\d+)$/.exec(identity ?? '') ?? []
  return copy === ALL || (seq !== undefined && `${BigInt(seq) / PER_COPY}` === copy)
}

function wait(waiters: Set<() => void>, ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer)
      signal.removeEventListener('abort', done)
      waiters.delete(done)
      resolve()
    }
    const timer = setTimeout(done, ms)
    signal.addEventListener('abort', done)
    waiters.add(done)
    if (signal.aborted) done()
  })
}
