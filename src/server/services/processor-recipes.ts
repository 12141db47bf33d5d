// How objects of processor routes are made: names and plain data, written down as they come, so that an object can be made
// anew after a restart, in another server, or when its memory was wanted. A recipe is a folder of files by number: 0 makes the
// object, each further one is a call that changed it. A row says whose it is, how many files hold, and where an iteration stands.

import { randomUUID } from 'node:crypto'
import { mkdir, open, readdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Kysely, Selectable } from 'kysely'
import type { Kwargs } from '../../catalogue/arguments.ts'
import { serviceError } from '../errors.ts'
import type { Database, ProcessorTable } from '../store/schema.ts'

export type ProcessorRow = Selectable<ProcessorTable>

/** `type` is a kind of the catalogue. */
export interface Made {
  readonly type: string
  readonly className: string
  readonly kwargs: Kwargs
}
export interface Called {
  readonly function: string
  readonly kwargs: Kwargs
}

const MINUTE_MS = 60_000
const ID = /^pid:([0-9a-f]{32})$/

export class ProcessorRecipes {
  readonly #db: Kysely<Database>
  readonly #folder: string
  constructor(db: Kysely<Database>, stateDir: string) {
    this.#db = db
    this.#folder = join(stateDir, 'processors')
  }

  /** On the disk when it returns. Throws PROCESSORS_FULL. */
  async add(tenant: string, session: string, made: Made, limit: number): Promise<ProcessorRow> {
    await this.checkCount(tenant, limit)
    const now = Date.now()
    const id = randomUUID().replaceAll('-', '')
    await mkdir(join(this.#folder, id), { recursive: true })
    await this.#write(id, 0, made)
    const row = { id, tenant, session, steps: 1, position: null, created_at: now, used_at: now }
    await this.#db.insertInto('processors').values(row).execute()
    return row
  }

  async checkCount(tenant: string, limit: number): Promise<void> {
    const { count } = await this.#db
      .selectFrom('processors')
      .select(({ fn }) => fn.countAll<number>().as('count'))
      .where('tenant', '=', tenant)
      .executeTakeFirstOrThrow()
    if (Number(count) >= limit) throw serviceError('PROCESSORS_FULL', { count: Number(count), limit })
  }

  /** @param id As the wire has it. Throws UNKNOWN_PROCESSOR, whether it is another tenant's or nobody's. */
  async find(tenant: string, id: string): Promise<ProcessorRow> {
    const [, bare] = ID.exec(id) ?? []
    const row =
      bare &&
      (await this.#db
        .selectFrom('processors')
        .selectAll()
        .where('id', '=', bare)
        .where('tenant', '=', tenant)
        .executeTakeFirst())
    if (!row) throw serviceError('UNKNOWN_PROCESSOR', { id })
    return row
  }

  async read({ id, steps }: ProcessorRow): Promise<{ made: Made; calls: Called[] }> {
    const read = async (_: unknown, step: number) => JSON.parse(await readFile(this.#file(id, step), 'utf8'))
    const [made, ...calls] = await Promise.all(Array.from({ length: steps }, read))
    return { made, calls }
  }

  /** A call that changed the object. What a crash left under its number is replaced. */
  async note(row: ProcessorRow, call: Called): Promise<void> {
    await this.#write(row.id, row.steps, call)
    row.steps++
    await this.#db.updateTable('processors').set({ steps: row.steps }).where('id', '=', row.id).execute()
  }

  async stand(row: ProcessorRow, position: unknown): Promise<void> {
    row.position = JSON.stringify(position)
    await this.#db.updateTable('processors').set({ position: row.position }).where('id', '=', row.id).execute()
  }

  async touch(row: ProcessorRow): Promise<void> {
    const now = Date.now()
    if (now - Number(row.used_at) < MINUTE_MS) return
    await this.#db.updateTable('processors').set({ used_at: now }).where('id', '=', row.id).execute()
  }

  /** Ids of those whose session is over, and that nobody has used since `before`. They are gone. */
  async removeOver(before: number): Promise<string[]> {
    const over = await this.#db
      .selectFrom('processors')
      .leftJoin('sessions', 'sessions.id', 'processors.session')
      .select('processors.id')
      .where('used_at', '<', before)
      .where(({ or, eb }) => or([eb('sessions.state', 'is', null), eb('sessions.state', '!=', 'active')]))
      .execute()
    const ids = over.map(({ id }) => id)
    if (ids.length) await this.#db.deleteFrom('processors').where('id', 'in', ids).execute()
    for (const id of ids) await rm(join(this.#folder, id), { recursive: true, force: true })
    return ids
  }

  /** Folders that a crash left without a row. Only before anything is made. */
  async removeOrphans(): Promise<void> {
    const known = new Set((await this.#db.selectFrom('processors').select('id').execute()).map(({ id }) => id))
    for (const id of await readdir(this.#folder).catch(() => [])) {
      if (!known.has(id)) await rm(join(this.#folder, id), { recursive: true, force: true })
    }
  }

  #file(id: string, step: number): string {
    return join(this.#folder, id, `${step}.json`)
  }

  async #write(id: string, step: number, line: Made | Called): Promise<void> {
    const handle = await open(this.#file(id, step), 'w')
    try {
      await handle.writeFile(JSON.stringify(line))
      await handle.datasync()
    } finally {
      await handle.close()
    }
  }
}
