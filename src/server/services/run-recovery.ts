// A server that gets the engine of a base model begins on the journal of the one that had it: every run that is not over
// gets its queue back, with the numbers that had their turn and the operations that had not ended, in their order. Adapters
// come later, when they are needed.

import { ServiceError, serviceError } from '../errors.ts'
import type { Journal, OperationRow } from '../store/journal.ts'
import type { Futures } from './futures.ts'
import { journalledWork } from './journalled-work.ts'
import { isDatabaseTrouble } from './patience.ts'
import type { RunLanes } from './run-lanes.ts'
import type { Run, Runs } from './runs.ts'
import type { Sessions } from './sessions.ts'
import type { Tenure } from './tenure.ts'

interface Parts {
  readonly journal: Journal
  readonly futures: Futures
  readonly runs: Runs
  readonly sessions: Sessions
  readonly lanes: RunLanes
}

/** `rows` is what had been acknowledged and not done, as the journal orders it. */
export async function takeUpRuns(
  parts: Parts,
  baseModel: string,
  tenure: Tenure,
  rows: readonly OperationRow[],
): Promise<void> {
  const runs = new Map((await parts.runs.live(baseModel)).map((run) => [run.id, run]))
  const byRun = new Map<string, OperationRow[]>()
  for (const row of rows) {
    const id = row.subject ?? ''
    const others = byRun.get(id)
    if (others) others.push(row)
    else if (runs.has(id)) byRun.set(id, [row])
    else if (parts.futures.open(row.id, tenure)) await parts.futures.reject(row.id, gone(id))
  }
  for (const run of runs.values()) await takeUp(parts, run, tenure, byRun.get(run.id) ?? [])
}

async function takeUp(parts: Parts, run: Run, tenure: Tenure, rows: readonly OperationRow[]): Promise<void> {
  const { journal, lanes } = parts
  lanes.beginRun(run)
  const waiting = new Set(rows.filter((row) => row.position === null).map(({ seq }) => Number(seq)))
  for (const seq of await journal.usedNumbers(run.id)) if (!waiting.has(seq)) lanes.skip(run, seq)
  for (const row of rows) {
    // What had been started was ready; its number has had its turn.
    if (row.position !== null && row.seq !== null) lanes.skip(run, Number(row.seq))
    await takeUpOne(parts, run, tenure, row)
  }
  if (await isSessionOver(parts, run)) lanes.release(run)
}

/** Work of a live run, from its row in the journal. Throws what the database throws. */
export async function takeUpOne(
  { journal, futures, lanes }: Pick<Parts, 'journal' | 'futures' | 'lanes'>,
  run: Run,
  tenure: Tenure,
  row: OperationRow,
): Promise<void> {
  try {
    const work = journalledWork(row, await journal.payloadOf(row))
    await lanes.take(row.id, run, work, row.position === null ? Number(row.seq ?? 0) : 0)
  } catch (cause) {
    if (isDatabaseTrouble(cause)) throw cause
    if (futures.open(row.id, tenure)) await futures.reject(row.id, cause)
    // Its turn is over: later numbers do not wait for it.
    lanes.skip(run, Number(row.seq ?? 0))
  }
}

async function isSessionOver({ sessions }: Parts, run: Run): Promise<boolean> {
  try {
    await sessions.require(run.tenant, run.session)
    return false
  } catch (cause) {
    // Whatever else it may be, a run is not given up for it.
    if (cause instanceof ServiceError && OVER.has(cause.code)) return true
    throw cause
  }
}
const OVER: ReadonlySet<string> = new Set(['SESSION_OVER', 'UNKNOWN_SESSION'])

const gone = (id: string) => serviceError('MODEL_GONE', { id, reason: 'it was unloaded or its session is over' })
