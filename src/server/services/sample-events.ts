// Which samples of a sampling session have ended: one poll for all of them (retrieve_futures) instead of one for each. A log
// is kept only for those who poll; the journal knows everything, so a log can be begun at any time. Positions are
// microseconds since 1970, made unique and rising: they follow the ends in the journal, so that a client can go on with its
// cursor after a restart, or at another server that shares the database.

import type { Kysely } from 'kysely'
import type { OperationRow } from '../store/journal.ts'
import type { Database } from '../store/schema.ts'
import type { Signals } from '../store/signals.ts'
import type { Futures } from './futures.ts'
import type { Sessions } from './sessions.ts'
import { Watch } from './watch.ts'

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
  /** The highest position given to an event, or known from a client. */
  last: number
  /** Cursors of the latest answers. */
  issued: number[]
  readonly watches: Set<Watch>
  loaded: Promise<void>
}

/** What ended this long before the cursor of another server, or of an earlier run, is told again: their order may differ. */
const OVERLAP_MS = 1000
/** How long something is waited for that is new for certain, where all there is may have been heard. */
const REPEAT_MS = 250
/** Cursors that are remembered: a client may ask again with an older one when an answer was lost. */
const ISSUED = 8
const PER_COPY = 10n ** 9n

export class SampleEvents {
  readonly #db: Kysely<Database>
  /** By sampling session, then by copy. */
  readonly #logs = new Map<string, Map<string, Log>>()
  #isEnding = false

  constructor(db: Kysely<Database>, futures: Futures, sessions: Sessions, signals: Signals) {
    this.#db = db
    futures.onEnd((id) => void this.#ended(id))
    sessions.onEnd((session) => this.#forget(session))
    signals.onGap(() => this.#reload())
  }

  /** Ends after the cursor, held until there are some, `holdMs` pass or `signal` aborts. The owner has been checked. */
  async poll(poll: SamplePoll, signal: AbortSignal): Promise<{ ends: readonly SampleEnd[]; cursor: number }> {
    const log = this.#log(poll)
    await log.loaded
    const { cursor } = poll
    const isOwn = cursor === 0 || log.issued.includes(cursor)
    const start = isOwn ? cursor : cursor - OVERLAP_MS * 1000
    log.last = Math.max(log.last, cursor)
    log.events = log.events.filter((event) => event.position > start)
    const isNew = () => log.events.some((event) => event.position > cursor)
    if (!isNew()) await this.#wait(log, log.events.length ? Math.min(REPEAT_MS, poll.holdMs) : poll.holdMs, signal)
    const ends = log.events.filter((event) => event.position > start)
    const next = Math.max(cursor, ends.at(-1)?.position ?? 0)
    log.issued = [...log.issued.slice(1 - ISSUED), next]
    return { ends, cursor: next }
  }

  async #wait(log: Log, ms: number, signal: AbortSignal): Promise<void> {
    if (this.#isEnding) return
    const watch = new Watch()
    log.watches.add(watch)
    await watch.sleep(ms, signal)
    log.watches.delete(watch)
  }

  /** Answers everybody who waits; the server is closing. */
  endWaiting(): void {
    this.#isEnding = true
    for (const logs of this.#logs.values()) for (const log of logs.values()) wake(log)
  }

  #log({ samplingSession, copy = ALL, cursor }: SamplePoll): Log {
    const logs = this.#logs.get(samplingSession) ?? new Map<string, Log>()
    this.#logs.set(samplingSession, logs)
    const known = logs.get(copy)
    if (known) return known
    const log: Log = { events: [], last: cursor, issued: [], watches: new Set(), loaded: Promise.resolve() }
    log.loaded = Promise.resolve().then(() => this.#load(log, samplingSession, copy))
    logs.set(copy, log)
    return log
  }

  /** What ended before this log was begun, or unheard; what ends meanwhile comes by `#ended`. */
  async #load(log: Log, samplingSession: string, copy: string): Promise<void> {
    const rows = await this.#db
      .selectFrom('operations')
      .select(['id', 'state', 'identity', 'finished_at'])
      .where('subject', '=', samplingSession)
      .where('kind', '=', 'sample')
      .where('finished_at', '>=', Math.max(0, Math.floor(log.last / 1000) - OVERLAP_MS))
      .orderBy('finished_at')
      .execute()
    for (const row of rows) add(log, copy, row)
  }

  #reload(): void {
    for (const [samplingSession, logs] of this.#logs)
      for (const [copy, log] of logs) log.loaded = this.#load(log, samplingSession, copy).then(() => wake(log))
  }

  async #ended(id: string): Promise<void> {
    if (!this.#logs.size) return
    const row = await this.#db
      .selectFrom('operations')
      .select(['id', 'subject', 'state', 'identity', 'finished_at'])
      .where('id', '=', id)
      .executeTakeFirst()
    for (const [copy, log] of this.#logs.get(row?.subject ?? '') ?? []) {
      if (row && add(log, copy, row)) wake(log)
    }
  }

  #forget(session: string): void {
    for (const [samplingSession, logs] of this.#logs) {
      if (!samplingSession.startsWith(`${session}:`)) continue
      this.#logs.delete(samplingSession)
      for (const log of logs.values()) wake(log)
    }
  }
}

const ALL = '*'

function wake(log: Log): void {
  for (const watch of log.watches) watch.wake()
}

/** True when it belongs there and was not there. */
function add(log: Log, copy: string, { id, state, identity, finished_at: at }: Ended): boolean {
  if (!isOf(copy, identity) || log.events.some((event) => event.id === id)) return false
  log.last = Math.max(log.last + 1, Number(at) * 1000)
  log.events.push({ position: log.last, id, state: state === 'done' ? 'finished' : 'failed' })
  return true
}

type Ended = Pick<OperationRow, 'id' | 'state' | 'identity' | 'finished_at'>

/** The identity of a sample ends with its sequence number. */
function isOf(copy: string, identity: string | null): boolean {
  const [, seq] = /:(\d+)$/.exec(identity ?? '') ?? []
  return copy === ALL || (seq !== undefined && `${BigInt(seq) / PER_COPY}` === copy)
}
