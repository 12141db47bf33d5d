import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Kysely } from 'kysely'
import sinon from 'sinon'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { Journal, type NewOperation } from './journal.ts'
import { migrate } from './migrate.ts'
import type { Database } from './schema.ts'
import { kyselyOf, openSqliteFile } from './sqlite.ts'
import type { SqliteFile } from './sqlite-file.ts'

let stateDir: string
let file: SqliteFile
let db: Kysely<Database>
let journal: Journal

beforeEach(async () => {
  stateDir = mkdtempSync(join(tmpdir(), 'twinkle-sqlite-driver-'))
  file = await openSqliteFile(join(stateDir, 'twinkle.db'))
  db = kyselyOf(file)
  await migrate(db)
  journal = new Journal(db, stateDir)
})
afterEach(async () => {
  sinon.restore()
  await db.destroy()
  rmSync(stateDir, { recursive: true })
})

const call = (seq: number, payload = new Uint8Array(10)): NewOperation => ({
  ...{ tenant: 'anna', session: 's', subject: 's:train:0', kind: 'optim_step', identity: `${seq}`, seq },
  payload,
})
const numbers = (count: number) => Array.from({ length: count }, (_, i) => i + 1)
const sequence = async () =>
  (await db.selectFrom('operations').select('seq').orderBy('id').execute()).map(({ seq }) => seq)

/** The first sync ends when the test says so. */
function slowSync() {
  let release: () => void = () => {}
  const sync = sinon.stub(file, 'sync').resolves()
  sync.onFirstCall().returns(new Promise((resolve) => (release = resolve)))
  return { sync, release: () => release() }
}
/** What can happen without the disk has happened. */
async function allButTheDisk() {
  for (let i = 0; i < 100; i++) await new Promise(setImmediate)
}

describe('submissions of one tick', () => {
  it('share two syncs, and keep their order', async () => {
    const { sync, release } = slowSync()
    const appending = Promise.all(numbers(40).map((seq) => journal.append(call(seq))))
    await allButTheDisk()
    expect(sync.callCount).toBe(1)
    release()
    expect((await appending).every(({ isNew }) => isNew)).toBe(true)
    expect(sync.callCount).toBe(2)
    expect(await sequence()).toEqual(numbers(40))
  })

  it('fail each for itself', async () => {
    await journal.append(call(2, new Uint8Array(3)))
    const fails = async () => {
      throw new Error('no')
    }
    const ends = await Promise.allSettled([
      journal.append(call(1)),
      journal.append(call(2)),
      journal.append(call(3), fails),
      journal.append(call(4)),
    ])
    expect(ends.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'rejected', 'fulfilled'])
    expect(ends[1]).toMatchObject({ reason: { code: 'SEQ_CONFLICT' } })
    expect((await sequence()).sort()).toEqual([1, 2, 4])
  })

  it('share it with the ends of others, and a start waits for none', async () => {
    const { id } = await journal.append(call(1))
    const { sync, release } = slowSync()
    await journal.start([id])
    expect(sync.callCount).toBe(0)
    const writing = Promise.all([journal.append(call(2)), journal.finish({ id }), journal.append(call(3))])
    await allButTheDisk()
    release()
    await writing
    expect(sync.callCount).toBe(2)
  })
})

describe('before the disk has it', () => {
  it('nobody hears of it: neither who wrote it nor who reads it', async () => {
    const { release } = slowSync()
    const heard: string[] = []
    const appended = journal.append(call(1)).then(() => heard.push('appended'))
    const alone = journal.refuse('r', 7).then(() => heard.push('refused'))
    const read = sequence().then(() => heard.push('read'))
    await allButTheDisk()
    expect(heard).toEqual([])
    release()
    await Promise.all([appended, alone, read])
    expect(heard).toHaveLength(3)
  })
})

describe('a disk that cannot sync', () => {
  const broken = () => sinon.stub(file, 'sync').rejects(Object.assign(new Error('EIO'), { code: 'SQLITE_IOERR_FSYNC' }))

  it('acknowledges nothing; sent again it is taken up, with its file, when the database itself was synced', async () => {
    broken()
    const large = new Uint8Array(100_000)
    await expect(journal.append(call(1, large))).rejects.toMatchObject({ code: 'SQLITE_IOERR_FSYNC' })
    sinon.restore()
    const checkpoint = sinon.spy(file, 'checkpoint')
    const again = await journal.append(call(1, large))
    expect(again.isNew).toBe(true)
    expect(checkpoint.callCount).toBe(1)
    expect(readdirSync(join(stateDir, 'blobs'))).toHaveLength(1)
    const row = await journal.find('anna', again.id)
    expect(Buffer.compare(await journal.payloadOf(row as never), large)).toBe(0)
  })

  it('syncs as before when it works again', async () => {
    broken()
    await expect(journal.append(call(1))).rejects.toThrow('EIO')
    sinon.restore()
    await journal.append(call(2))
    const spies = [sinon.spy(file, 'checkpoint'), sinon.spy(file, 'sync')]
    await journal.append(call(3))
    expect(spies.map(({ callCount }) => callCount)).toEqual([0, 1])
  })
})

describe('statements that are kept', () => {
  it('see the columns that a table has by now', async () => {
    const all = () => db.selectFrom('refused_numbers').selectAll().execute()
    await journal.refuse('r', 1)
    expect(await all()).toEqual([{ run: 'r', seq: 1 }])
    await db.schema.alterTable('refused_numbers').addColumn('why', 'text').execute()
    expect(await all()).toEqual([{ run: 'r', seq: 1, why: null }])
  })

  it('can be used again after one of them failed', async () => {
    const insert = () => db.insertInto('refused_numbers').values({ run: 'r', seq: 1 }).execute()
    await insert()
    await expect(insert()).rejects.toMatchObject({ code: expect.stringMatching(/^SQLITE_CONSTRAINT/) })
    await db.deleteFrom('refused_numbers').execute()
    await insert()
    expect(await db.selectFrom('refused_numbers').selectAll().execute()).toHaveLength(1)
  })
})
