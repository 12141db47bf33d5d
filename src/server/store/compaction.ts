// Keeps the state directory bounded. What can never be needed again goes: payloads and plans of operations that no replay
// reaches, answers that were kept long enough, rows of runs that are over. The policy is data (policy.ts), so that it can be shown.
// Rows go in small portions: the database answers on the thread of the server.

import { readdir, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { type Kysely, sql } from 'kysely'
import { EFFECTS } from './effects.ts'
import { dropOldRowsOfLiveRuns } from './live-rows.ts'
import { DEFAULT_POLICY, ORPHAN_MS, type Policy } from './policy.ts'
import type { Database } from './schema.ts'

const PORTION = 500
/** In the place of a folder that was removed: none would mean the base model. */
const GONE = 'removed'

export class Compaction {
  readonly #db: Kysely<Database>
  readonly #stateDir: string
  readonly #isShared: boolean
  readonly #policy: Policy
  /** @param isShared Other servers may use the same state directory. */
  constructor(db: Kysely<Database>, stateDir: string, isShared = false, policy = DEFAULT_POLICY) {
    this.#db = db
    this.#stateDir = stateDir
    this.#isShared = isShared
    this.#policy = policy
  }

  /** Gives the number of rows that became smaller or went. */
  async run(now = Date.now()): Promise<number> {
    let count = 0
    for (const portion of [
      this.#dropPayloads,
      this.#dropAnswers,
      this.#dropRows,
      this.#dropLiveRows,
      this.#dropSnapshots,
      this.#dropUsage,
    ]) {
      for (let done = PORTION; done === PORTION; count += done) {
        done = await portion.call(this, now)
        await new Promise(setImmediate)
      }
    }
    return count
  }

  async #dropPayloads(now: number): Promise<number> {
    const rows = await this.#db
      .selectFrom('operations as o')
      .leftJoin('runs as r', 'r.id', 'o.subject')
      .select(['o.id', 'o.payload_file as file'])
      .where('o.finished_at', '<', now - this.#policy.calls)
      .where(({ or, eb }) =>
        or([eb('o.payload', 'is not', null), eb('o.payload_file', 'is not', null), eb('o.plan', 'is not', null)]),
      )
      .where(({ or, eb, ref }) =>
        or([
          eb('o.kind', 'not in', EFFECTS),
          eb('o.position', 'is', null),
          eb('r.id', 'is', null),
          eb('r.state', 'in', ['failed', 'unloaded']),
          eb('o.position', '<=', ref('r.restart_position')),
        ]),
      )
      .limit(PORTION)
      .execute()
    await this.#update(rows, { payload: null, payload_file: null, plan: null })
    return rows.length
  }

  async #dropAnswers(now: number): Promise<number> {
    const rows = await this.#db
      .selectFrom('operations')
      .select(['id', 'result_file as file'])
      .where('state', '=', 'done')
      .where('result_type', '!=', 'expired')
      .where(({ or, eb }) =>
        or([
          eb('delivered_at', '<', now - this.#policy.answers),
          eb('finished_at', '<', now - this.#policy.unfetchedAnswers),
        ]),
      )
      .limit(PORTION)
      .execute()
    await this.#update(rows, { result: null, result_file: null, result_type: 'expired' as const })
    return rows.length
  }

  async #dropRows(now: number): Promise<number> {
    const rows = await this.#db
      .selectFrom('operations as o')
      .leftJoin('runs as r', 'r.id', 'o.subject')
      .select('o.id')
      .where('o.finished_at', '<', now - this.#policy.rows)
      .where('o.payload_file', 'is', null)
      .where('o.result_file', 'is', null)
      .where(({ or, eb }) => or([eb('r.id', 'is', null), eb('r.state', 'in', ['failed', 'unloaded'])]))
      .limit(PORTION)
      .execute()
    const ids = rows.map(({ id }) => id)
    if (ids.length) await this.#db.deleteFrom('operations').where('id', 'in', ids).execute()
    return rows.length
  }

  async #dropLiveRows(now: number): Promise<number> {
    return dropOldRowsOfLiveRuns(this.#db, now - this.#policy.rows, PORTION)
  }

  /** Weights of sampling sessions without a name: nobody can draw from them once their session is over. */
  async #dropSnapshots(now: number): Promise<number> {
    const rows = await this.#db
      .selectFrom('sampling_sessions as own')
      .innerJoin('sessions', 'sessions.id', 'own.session')
      .select(['own.id', 'own.folder'])
      .where('own.folder', 'like', 'checkpoints/%/ephemeral/%')
      .where('sessions.state', '!=', 'active')
      .where('sessions.heartbeat_at', '<', now - this.#policy.calls)
      .where(({ not, exists, selectFrom }) =>
        not(
          exists(
            selectFrom('sampling_sessions as other')
              .innerJoin('sessions as living', 'living.id', 'other.session')
              .select('other.id')
              .whereRef('other.folder', '=', 'own.folder')
              .where('living.state', '=', 'active'),
          ),
        ),
      )
      .where(({ not, exists, selectFrom }) =>
        not(
          exists(
            selectFrom('operations')
              .select('operations.id')
              .whereRef('operations.subject', '=', 'own.id')
              .where('operations.finished_at', 'is', null),
          ),
        ),
      )
      .limit(PORTION)
      .execute()
    const ids = rows.map(({ id }) => id)
    if (ids.length)
      await this.#db.updateTable('sampling_sessions').set({ folder: GONE }).where('id', 'in', ids).execute()
    for (const { folder } of rows) if (folder) await rm(join(this.#stateDir, folder), { recursive: true, force: true })
    return rows.length
  }

  async #dropUsage(now: number): Promise<number> {
    let count = 0n
    for (const table of ['usage', 'storage_usage'] as const) {
      const { numDeletedRows } = await this.#db
        .deleteFrom(table)
        .where('hour', '<', now - this.#policy.usage)
        .executeTakeFirstOrThrow()
      count += numDeletedRows
    }
    // All at once: it is a few rows in a portion's time.
    return Math.min(Number(count), PORTION - 1)
  }

  /** The rows first, then their files: a row never names a file that is gone. */
  async #update(
    rows: readonly { id: string; file: string | null }[],
    change: Partial<Record<'payload' | 'payload_file' | 'plan' | 'result' | 'result_file', null>> & {
      result_type?: 'expired'
    },
  ): Promise<void> {
    const ids = rows.map(({ id }) => id)
    if (ids.length) await this.#db.updateTable('operations').set(change).where('id', 'in', ids).execute()
    for (const { file } of rows) if (file) await rm(join(this.#stateDir, 'blobs', file), { force: true })
  }

  /** Files that a crash left without a row. Only before anything is submitted. Gives their number. */
  async removeOrphans(): Promise<number> {
    const blobs = await sql<{ name: string }>`select payload_file as name from operations where payload_file is not null
      union select result_file from operations where result_file is not null`.execute(this.#db)
    const folders = await sql<{ name: string }>`select folder as name from checkpoints
      union select folder from sampling_sessions where folder is not null
      union select restart_folder from runs where restart_folder is not null`.execute(this.#db)
    const known = new Set([
      ...blobs.rows.map(({ name }) => join('blobs', name)),
      ...folders.rows.map(({ name }) => name),
    ])
    const found = [...(await this.#below('blobs', 1)), ...(await this.#below('checkpoints', 3))]
    const orphans = found.filter((path) => !known.has(path))
    const limit = Date.now() - ORPHAN_MS
    let count = 0
    for (const path of orphans) {
      const absolute = join(this.#stateDir, path)
      if (this.#isShared && !(await isOlder(absolute, limit))) continue
      await rm(absolute, { recursive: true, force: true })
      count++
    }
    return count
  }

  /** What is `depth` levels below a folder, as paths below the state directory. */
  async #below(folder: string, depth: number): Promise<string[]> {
    const names = await readdir(join(this.#stateDir, folder)).catch(() => [])
    const paths = names.map((name) => join(folder, name))
    if (depth === 1) return paths
    return (await Promise.all(paths.map((path) => this.#below(path, depth - 1)))).flat()
  }
}

async function isOlder(path: string, limit: number): Promise<boolean> {
  const found = await stat(path).catch(() => null)
  return found !== null && found.mtimeMs < limit
}
