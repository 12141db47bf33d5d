import { mkdirSync, mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Kysely } from 'kysely'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { Compaction } from './compaction.ts'
import { openDatabase } from './database.ts'
import { Journal } from './journal.ts'
import { ORPHAN_MS, DEFAULT_POLICY as POLICY } from './policy.ts'
import type { Database, OperationKind, RunTable } from './schema.ts'
import { newDatabase, type TestDatabase } from './testing/databases.ts'

const large = new Uint8Array(100_000)
const RUN = 's:train:0'

let stateDir: string
let database: TestDatabase
let db: Kysely<Database>
let journal: Journal
let compaction: Compaction

beforeEach(async () => {
  stateDir = mkdtempSync(join(tmpdir(), 'twinkle-compaction-'))
  database = await newDatabase()
  db = await openDatabase({ database: database.url, stateDir })
  journal = new Journal(db, stateDir)
  compaction = new Compaction(db, stateDir)
})
afterEach(async () => {
  await db.destroy()
  await database.remove()
  rmSync(stateDir, { recursive: true })
})

async function ended(kind: OperationKind, subject: string | null = RUN): Promise<string> {
  const call = { tenant: 'anna', session: 's', subject, kind, identity: null, payload: large }
  const { id } = await journal.append(call)
  await journal.start([id])
  await journal.finish({ id, result: { type: 'json', bytes: large }, plan: { batches: [] } })
  return id
}
const row = async (id: string) => (await journal.find('anna', id)) ?? null

async function run(state: RunTable['state'], restartPosition: number): Promise<void> {
  const shape = { rank: 4, alpha: 32, seed: '1', train_attention: 1, train_mlp: 1, train_unembed: 1 }
  const times = { created_at: 0, last_request_at: 0 }
  const values = { id: RUN, tenant: 'anna', session: 's', base_model: 'tiny', user_metadata: '{}', ...shape, ...times }
  await db
    .insertInto('runs')
    .values({ ...values, state, restart_position: restartPosition })
    .execute()
}

describe('compaction', () => {
  it('drops the calls that no replay reaches, and keeps those that one does', async () => {
    const [first, look, last] = [await ended('optim_step'), await ended('forward'), await ended('forward_backward')]
    await run('ready', Number((await row(first))?.position))
    await compaction.run(Date.now() + POLICY.calls - 1000)
    expect((await row(first))?.payload_file).not.toBeNull()
    await compaction.run(Date.now() + POLICY.calls + 1000)
    expect(await row(first)).toMatchObject({ payload: null, payload_file: null, plan: null, state: 'done' })
    expect(await row(look)).toMatchObject({ payload: null, payload_file: null })
    const kept = await row(last)
    expect((await journal.payloadOf(kept as never)).byteLength).toBe(large.byteLength)
    expect(kept?.plan).not.toBeNull()
    // Three answers and one call.
    expect(readdirSync(join(stateDir, 'blobs'))).toHaveLength(4)
  })

  it('keeps answers for a day after they were fetched, and for a week when nobody has', async () => {
    const [fetched, waiting] = [await ended('sample', null), await ended('sample', null)]
    journal.delivered(fetched)
    await journal.writeDelivered()
    await compaction.run(Date.now() + POLICY.answers + 1000)
    expect((await row(fetched))?.result_type).toBe('expired')
    expect((await journal.resultOf((await row(waiting)) as never)).byteLength).toBe(large.byteLength)
    await compaction.run(Date.now() + POLICY.unfetchedAnswers + 1000)
    expect((await row(waiting))?.result_type).toBe('expired')
    expect(readdirSync(join(stateDir, 'blobs'))).toEqual([])
  })

  it.each(['ready', 'unloaded'] as const)(
    'of a run that is %s keeps the rows for as long as its numbers count',
    async (state) => {
      await run(state, 0)
      const id = await ended('forward')
      await compaction.run(Date.now() + POLICY.rows + 1000)
      expect((await row(id)) === null).toBe(state === 'unloaded')
    },
  )

  it('removes the weights of samplers without a name when every session that draws from them is over', async () => {
    const folder = (name: string) => join('checkpoints', 's_train_0', 'ephemeral', name)
    const session = { tenant: 'anna', tags: '[]', user_metadata: '{}', created_at: 0, heartbeat_at: Date.now() }
    const sampler = { tenant: 'anna', base_model: 'tiny', created_at: 0 }
    for (const [id, state, name] of [
      ['over', 'finished', 'left'],
      ['joined', 'finished', 'shared'],
      ['active', 'active', 'shared'],
    ] as const) {
      await db
        .insertInto('sessions')
        .values({ ...session, id, state })
        .execute()
      await db
        .insertInto('sampling_sessions')
        .values({ ...sampler, id: `${id}:sample:0`, session: id, folder: folder(name) })
        .execute()
      mkdirSync(join(stateDir, folder(name)), { recursive: true })
    }
    await compaction.run(Date.now() + POLICY.calls + 1000)
    expect(readdirSync(join(stateDir, 'checkpoints', 's_train_0', 'ephemeral'))).toEqual(['shared'])
  })

  it('never touches what has not ended', async () => {
    const call = {
      tenant: 'anna',
      session: 's',
      subject: RUN,
      kind: 'forward' as const,
      identity: null,
      payload: large,
    }
    const { id } = await journal.append(call)
    await compaction.run(Date.now() + 10 * POLICY.rows)
    expect((await journal.payloadOf((await row(id)) as never)).byteLength).toBe(large.byteLength)
  })

  it('removes files that no row names, and no others', async () => {
    await ended('forward')
    await run('ready', 0)
    const folder = (name: string) => join('checkpoints', 's_train_0', 'restart', name)
    for (const name of ['kept', 'left']) mkdirSync(join(stateDir, folder(name)), { recursive: true })
    await db
      .updateTable('runs')
      .set({ restart_folder: folder('kept') })
      .execute()
    mkdirSync(join(stateDir, 'blobs', 'left'))
    expect(await compaction.removeOrphans()).toBe(2)
    expect(readdirSync(join(stateDir, 'blobs'))).toHaveLength(2)
    expect(readdirSync(join(stateDir, 'checkpoints', 's_train_0', 'restart'))).toEqual(['kept'])
  })

  it('leaves a file without a row for a day where another server may be about to write its row', async () => {
    const shared = new Compaction(db, stateDir, true)
    const file = join(stateDir, 'blobs', 'written-elsewhere')
    writeFileSync(file, '')
    expect(await shared.removeOrphans()).toBe(0)
    const seconds = (Date.now() - ORPHAN_MS) / 1000 - 1
    utimesSync(file, seconds, seconds)
    expect(await shared.removeOrphans()).toBe(1)
  })
})

describe('a run that goes on', () => {
  const old = Date.now() + 10 * POLICY.rows

  /** An operation with this number, its call and its answer as small as can be. */
  async function numbered(seq: number): Promise<string> {
    const call = { tenant: 'anna', session: 's', subject: RUN, kind: 'optim_step' as const, identity: `${seq}`, seq }
    const { id } = await journal.append({ ...call, payload: new Uint8Array(1) })
    await journal.start([id])
    await journal.finish({ id, result: { type: 'json', bytes: new Uint8Array(1) } })
    return id
  }
  const usedThrough = async () =>
    Number((await db.selectFrom('runs').select('used_through').executeTakeFirstOrThrow()).used_through)

  it('keeps no rows from before its restart point for ever, and remembers which numbers had their turn', async () => {
    const [one, two] = [await numbered(1), await numbered(2)]
    await journal.refuse(RUN, 3)
    const four = await numbered(4)
    const six = await numbered(6)
    const last = await numbered(7)
    await run('ready', Number((await row(six))?.position))
    await compaction.run(old)
    for (const id of [one, two, four]) expect(await row(id)).toBeNull()
    // Number 5 has not come, so whoever has a later one is remembered by its row.
    expect(await usedThrough()).toBe(4)
    expect(await row(six)).not.toBeNull()
    expect(await row(last)).not.toBeNull()
    expect(await journal.usedNumbers(RUN)).toEqual([6, 7])
  })

  it('keeps the rows of late, and all of what a replay needs', async () => {
    const id = await numbered(1)
    await run('ready', 0)
    await compaction.run(old)
    expect(await row(id)).not.toBeNull()
  })
})
