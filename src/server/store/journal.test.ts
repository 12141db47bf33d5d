import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Kysely } from 'kysely'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { Journal, type NewOperation } from './journal.ts'
import type { Database } from './schema.ts'
import { openSqlite } from './sqlite.ts'

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
let db: Kysely<Database>
let journal: Journal

beforeEach(async () => {
  stateDir = mkdtempSync(join(tmpdir(), 'twinkle-journal-'))
  await open()
})
afterEach(async () => {
  await db.destroy()
  rmSync(stateDir, { recursive: true })
})
async function open() {
  db = await openSqlite(join(stateDir, 'twinkle.db'))
  journal = new Journal(db, stateDir)
}
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

  it('ends what a stopped server left open', async () => {
    const { id } = await journal.append(operation())
    await journal.start([id])
    await reopen()
    await journal.failOpen({ code: 'RESTARTED', category: 'server', message: 'restarted' })
    expect(await journal.find('anna', id)).toMatchObject({ state: 'failed', error_code: 'RESTARTED' })
  })
})
