// The life of a session as a trace that Perfetto and chrome://tracing open: for every operation when it came, when the engine
// took it, when it ended. Made from the journal, which knows times and kinds; what was computed is not in it.

import type { Kysely } from 'kysely'
import { serviceError } from '../errors.ts'
import type { Database } from '../store/schema.ts'

/** Newest operations that a trace holds; it says how many it leaves out. */
const MAX_OPERATIONS = 20_000

interface TraceEvent {
  readonly ph: 'b' | 'e'
  readonly name: string
  /** What the operation is about: its run or its sampling session. */
  readonly cat: string
  readonly id: string
  readonly pid: 1
  readonly tid: 1
  /** Microseconds. */
  readonly ts: number
  readonly args?: Readonly<Record<string, unknown>>
}

export interface Trace {
  readonly traceEvents: readonly TraceEvent[]
  readonly displayTimeUnit: 'ms'
  readonly otherData: Readonly<Record<string, string | number>>
}

export class Traces {
  readonly #db: Kysely<Database>
  constructor(db: Kysely<Database>) {
    this.#db = db
  }

  /** Throws UNKNOWN_SESSION. */
  async check(tenant: string, session: string): Promise<void> {
    const row = await this.#db
      .selectFrom('sessions')
      .select('id')
      .where('id', '=', session)
      .where('tenant', '=', tenant)
      .executeTakeFirst()
    if (!row) throw serviceError('UNKNOWN_SESSION', { id: session })
  }

  /** The owner was checked when the address was signed. */
  async of(session: string): Promise<Trace> {
    const query = this.#db.selectFrom('operations').where('session', '=', session)
    const { count } = await query.select(({ fn }) => fn.countAll<number>().as('count')).executeTakeFirstOrThrow()
    const rows = await query
      .select(['id', 'kind', 'subject', 'seq', 'state', 'error_code', 'created_at', 'started_at', 'finished_at'])
      .orderBy('created_at', 'desc')
      .limit(MAX_OPERATIONS)
      .execute()
    return {
      traceEvents: rows.reverse().flatMap(events),
      displayTimeUnit: 'ms',
      otherData: { session, operations: rows.length, left_out: Number(count) - rows.length },
    }
  }
}

interface Row {
  readonly id: string
  readonly kind: string
  readonly subject: string | null
  readonly seq: number | null
  readonly state: string
  readonly error_code: string | null
  readonly created_at: number
  readonly started_at: number | null
  readonly finished_at: number | null
}

/** One span from submission to end, and within it the time in the engine. What has not ended is as long as it is now. */
function events(row: Row): TraceEvent[] {
  const end = row.finished_at ?? Date.now()
  const event = (ph: 'b' | 'e', name: string, ms: number, args?: TraceEvent['args']): TraceEvent => ({
    ph,
    name,
    cat: row.subject ?? 'session',
    id: row.id,
    pid: 1,
    tid: 1,
    ts: ms * 1000,
    ...(args && { args }),
  })
  const { seq, state, error_code: error } = row
  const inEngine =
    row.started_at === null
      ? []
      : [event('b', 'in the engine', row.started_at), event('e', 'in the engine', Math.max(row.started_at, end))]
  return [
    event('b', row.kind, row.created_at, {
      request_id: row.id,
      state,
      ...(seq !== null && { seq }),
      ...(error && { error }),
    }),
    ...inEngine,
    event('e', row.kind, end),
  ]
}
