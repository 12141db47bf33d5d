// The start of a server on the journal of an earlier one: every run that is not over gets its queue back, with the numbers
// that had their turn and the operations that had not ended, in their order. Adapters come later, when they are needed.

import { serviceError } from '../errors.ts'
import type { OperationRow } from '../store/journal.ts'
import { journalledWork } from './journalled-work.ts'
import type { Lane } from './lane.ts'
import { runOperation } from './run-operation.ts'
import type { Run } from './runs.ts'
import type { TrainingParts } from './training.ts'

type Parts = Pick<TrainingParts, 'journal' | 'futures' | 'runs' | 'sessions' | 'models'>
type LaneOf = (baseModel: string) => Lane

/** `unfinished` is what had been acknowledged and not done, as the journal orders it. */
export async function takeUpRuns(parts: Parts, laneOf: LaneOf, unfinished: readonly OperationRow[]): Promise<void> {
  const runs = new Map((await parts.runs.live()).map((run) => [run.id, run]))
  const byRun = new Map<string, OperationRow[]>()
  for (const row of unfinished) {
    const id = row.subject ?? ''
    const rows = byRun.get(id)
    if (rows) rows.push(row)
    else if (runs.has(id)) byRun.set(id, [row])
    else await parts.futures.reject(row.id, gone(id))
  }
  for (const run of runs.values()) await takeUp(parts, laneOf, run, byRun.get(run.id) ?? [])
}

async function takeUp(parts: Parts, laneOf: LaneOf, run: Run, rows: readonly OperationRow[]): Promise<void> {
  const { journal, futures, models } = parts
  for (const { id } of rows) futures.open(id)
  // A model that is left out today may be served again tomorrow.
  if (!models.has(run.base_model)) return
  const lane = laneOf(run.base_model)
  const waiting = new Set(rows.filter((row) => row.position === null).map(({ seq }) => Number(seq)))
  for (const seq of await journal.usedNumbers(run.id)) if (!waiting.has(seq)) lane.skip(run.id, seq)
  for (const row of rows) {
    // What had been started was ready; its number has had its turn.
    const hasStarted = row.position !== null
    if (hasStarted && row.seq !== null) lane.skip(run.id, Number(row.seq))
    try {
      const work = journalledWork(row, await journal.payloadOf(row))
      lane.push(runOperation(row.id, run, work), hasStarted ? 0 : Number(row.seq ?? 0))
    } catch (cause) {
      await futures.reject(row.id, cause)
    }
  }
  if (await isSessionOver(parts, run)) lane.push(runOperation(null, run, { kind: 'unload_model' }), 0)
}

async function isSessionOver({ sessions }: Parts, run: Run): Promise<boolean> {
  return sessions.require(run.tenant, run.session).then(
    () => false,
    () => true,
  )
}

const gone = (id: string) => serviceError('MODEL_GONE', { id, reason: 'it was unloaded or its session is over' })
