import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Kysely } from 'kysely'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { openDatabase } from './database.ts'
import { Journal, type NewOperation } from './journal.ts'
import type { Database } from './schema.ts'
import { newDatabase, type TestDatabase } from './testing/databases.ts'

const bytes = (text: string) => new TextEncoder().encode(text)
const operation = (changes: Partial<NewOperation> = {}): NewOperation => ({
  tenant: 'anna',
  session: 's',
  subject: 's:train:0',
  kind: 'forward_backward',
  identity: 'run:s:train:0:1',
  payload: bytes('payload'),
  ...changes,
})

let stateDir: string
let database: TestDatabase
let db: Kysely<Database>
let journal: Journal

beforeEach(async () => {
  stateDir = mkdtempSync(join(tmpdir(), 'twinkle-journal-'))
  database = await newDatabase()
  await open()
})
afterEach(async () => {
  await db.destroy()
  await database.remove()
  rmSync(stateDir, { recursive: true })
})
async function open() {
  db = await openDatabase({ database: database.url, stateDir })
  journal = new Journal(db, stateDir)
}
/** Starts need not be on the disk at once: as after a crash of the database. */
const forget = (...ids: readonly string[]) =>
  db
    .updateTable('operations')
    .set({ state: 'queued', position: null, started_at: null })
    .where('id', 'in', ids)
    .execute()
async function reopen() {
  await db.destroy()
  await open()
}

describe('Journal', () => {
  it('knows a repeated submission by its protocol identity, also after a restart', async () => {
    const first = await journal.append(operation())
    expect(await journal.append(operation())).toEqual({ id: first.id, isNew: false })
    await reopen()
    expect(await journal.append(operation())).toEqual({ id: first.id, isNew: false })
  })

  it('refuses a repeated identity with another payload, with a status that clients do not retry', async () => {
    await journal.append(operation())
    const other = journal.append(operation({ payload: bytes('other') }))
    await expect(other).rejects.toMatchObject({ code: 'SEQ_CONFLICT', status: 400 })
  })

  it('takes two payloads as one call when their digests agree, as with a seed that the server drew', async () => {
    const call = bytes('call without a seed')
    const first = await journal.append(operation({ payload: bytes('seed 1'), digest: call }))
    expect(await journal.append(operation({ payload: bytes('seed 2'), digest: call }))).toMatchObject({ id: first.id })
  })

  it('takes submissions without identity as new ones', async () => {
    const first = await journal.append(operation({ identity: null }))
    const second = await journal.append(operation({ identity: null }))
    expect(second.isNew).toBe(true)
    expect(second.id).not.toBe(first.id)
  })

  it('writes what belongs to an operation in its transaction, or nothing at all', async () => {
    const failing = journal.append(operation(), async () => {
      throw new Error('no')
    })
    await expect(failing).rejects.toThrow('no')
    expect((await journal.append(operation())).isNew).toBe(true)
  })

  it('keeps a result, small or large, for its tenant only', async () => {
    const large = new Uint8Array(300_000).map((_, i) => i % 251)
    for (const result of [bytes('{"a":1}'), large]) {
      const { id } = await journal.append(operation({ identity: null, payload: large }))
      await journal.start([id])
      await journal.finish({ id, result: { type: 'training', bytes: result }, plan: { batches: [1] } })
      await reopen()
      const row = await journal.find('anna', id)
      expect(row).toMatchObject({ state: 'done', result_type: 'training', plan: '{"batches":[1]}' })
      expect(Buffer.compare(await journal.resultOf(row as never), result)).toBe(0)
      expect(await journal.find('bert', id)).toBeUndefined()
    }
  })

  it('keeps no file of a repeated submission', async () => {
    const large = new Uint8Array(100_000)
    await journal.append(operation({ payload: large }))
    await journal.append(operation({ payload: large }))
    expect(readdirSync(join(stateDir, 'blobs'))).toHaveLength(1)
  })

  it('finds after a restart what had not ended: what was started first, in that order, then by arrival', async () => {
    const ids: string[] = []
    for (const seq of [1, 2, 3, 4]) {
      ids.push((await journal.append(operation({ identity: `${seq}`, seq }))).id)
    }
    await journal.start([ids[2] as string, ids[1] as string])
    await journal.finish({ id: ids[2] as string, result: { type: 'json', bytes: bytes('{}') } })
    await reopen()
    expect((await journal.unfinished('tiny')).map(({ id }) => id)).toEqual([ids[1], ids[0], ids[3]])
  })

  it('repeats what changed an adapter, in the order in which that was carried out', async () => {
    const run = async (kind: NewOperation['kind'], end: { error?: 'user' | 'server' } = {}) => {
      const { id } = await journal.append(operation({ identity: null, kind, payload: bytes(kind) }))
      await journal.start([id])
      const { error: category } = end
      await journal.finish({ id, ...(category && { error: { code: 'X', category, message: 'x' } }) })
      return id
    }
    const pass = await run('forward_backward')
    await run('forward')
    await run('forward_backward', { error: 'user' })
    const refused = await run('optim_step', { error: 'user' })
    await run('optim_step', { error: 'server' })
    await run('save_weights')
    const clip = await run('clip_gradients')
    await run('clip_gradients', { error: 'user' })
    const zero = await run('zero_grad')
    const step = await run('optim_step')
    const effects = await journal.effectsAfter('s:train:0', 0)
    expect(effects.map(({ id }) => id)).toEqual([pass, refused, clip, zero, step])
    expect(new TextDecoder().decode(await journal.payloadOf(effects[0] as never))).toBe('forward_backward')
    const later = await journal.effectsAfter('s:train:0', Number(effects[1]?.position))
    expect(later.map(({ id }) => id)).toEqual([clip, zero, step])
  })

  it('gives what a database that crashed forgot the start of its place when it ends, and what never started none', async () => {
    const ids: string[] = []
    for (const kind of ['forward_backward', 'forward_backward', 'optim_step', 'optim_step'] as const)
      ids.push((await journal.append(operation({ identity: null, kind }))).id)
    const [first, second, step, refused] = ids as [string, string, string, string]
    await journal.start([first, second])
    await forget(first, second)
    const other = await journal.append(operation({ identity: null, subject: 's:train:1' }))
    await journal.start([other.id])
    let placed: number | null | undefined
    for (const id of [first, second])
      await journal.finish({ id, isStarted: true }, async (trx) => {
        placed = (await trx.selectFrom('operations').select('position').where('id', '=', id).executeTakeFirst())
          ?.position
      })
    await journal.start([step])
    await journal.finish({ id: step, isStarted: true })
    await journal.finish({ id: refused, isStarted: false, error: { code: 'X', category: 'user', message: 'x' } })
    const effects = await journal.effectsAfter('s:train:0', 0)
    expect(effects.map(({ id }) => id)).toEqual([first, second, step])
    expect(placed).toBe(effects[1]?.position)
  })

  it('remembers which numbers of a run are used, refused ones too', async () => {
    const { id } = await journal.append(operation({ seq: 1 }))
    await journal.finish({ id, error: { code: 'X', category: 'user', message: 'x' } })
    await journal.append(operation({ identity: 'other', seq: 2 }))
    await journal.refuse('s:train:0', 3)
    await journal.refuse('s:train:0', 3)
    await reopen()
    expect(await journal.usedNumbers('s:train:0')).toEqual([1, 3])
  })
})
