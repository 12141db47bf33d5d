// What the database still tells of a run when a life is over: what was carried out without a place in the order, and what
// its adapter was brought back from. Timing decides what a kill hits, so a failure has to be understood from what it left.

import type { DatabasePlace } from '../../src/server/store/database.ts'
import { openDatabase } from '../../src/server/store/database.ts'

/** A replay goes by these. */
const EFFECTS = ['forward_backward', 'optim_step', 'load_weights'] as const

/** Sentences about operations that changed an adapter and that no replay would find. */
export async function placeless(place: DatabasePlace): Promise<string[]> {
  const db = await openDatabase(place)
  const rows = await db
    .selectFrom('operations')
    .select(['id', 'kind', 'subject', 'seq'])
    .where('state', '=', 'done')
    .where('kind', 'in', EFFECTS)
    .where('position', 'is', null)
    .execute()
  await db.destroy()
  return rows.map(
    ({ id, kind, subject, seq }) => `${kind} ${seq} of ${subject} (${id}) ended without a place in the order`,
  )
}

/** What a run would be brought back from now: its restart point, and what changed it since in that order. */
export async function replayOf(place: DatabasePlace, run: string): Promise<string> {
  const db = await openDatabase(place)
  const row = await db
    .selectFrom('runs')
    .select(['restart_folder', 'restart_position'])
    .where('id', '=', run)
    .executeTakeFirst()
  const rows = await db
    .selectFrom('operations')
    .select(['kind', 'seq', 'position', 'state', 'plan'])
    .where('subject', '=', run)
    .where('kind', 'in', EFFECTS)
    .orderBy('position')
    .execute()
  await db.destroy()
  const from = row?.restart_folder == null ? 'its beginning' : `the restart point at ${row.restart_position}`
  const later = rows.filter(({ position }) => position === null || position > (row?.restart_position ?? 0))
  const words = later.map(
    ({ kind, seq, position, state, plan }) =>
      `${kind} ${seq} at ${position}${state === 'done' ? '' : ` (${state})`}${plan === null && kind === 'forward_backward' ? ' without a plan' : ''}`,
  )
  return `from ${from} by ${words.join(', ') || 'nothing'}`
}
