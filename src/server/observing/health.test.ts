import { chmodSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Kysely } from 'kysely'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { openDatabase } from '../store/database.ts'
import type { Database } from '../store/schema.ts'
import { Health } from './health.ts'

let stateDir: string
let db: Kysely<Database>
let restarting: string[]
let records: { late: number }
let health: Health

beforeEach(async () => {
  stateDir = mkdtempSync(join(tmpdir(), 'twinkle-health-'))
  db = await openDatabase({ stateDir, database: 'sqlite' })
  restarting = []
  records = { late: 0 }
  health = new Health({
    db,
    stateDir,
    futures: records,
    models: { names: () => ['org/a', 'org/b'], isRestarting: (name) => restarting.includes(name) },
  })
})
afterEach(async () => {
  health.close()
  await db.destroy()
  chmodSync(stateDir, 0o700)
  rmSync(stateDir, { recursive: true })
})

const codes = async (at?: number) => (await health.problems(at)).map(({ code }) => code)

it('has nothing to say of a server that works', async () => {
  expect(await codes()).toEqual([])
})

it('names the engine that is being opened again', async () => {
  restarting = ['org/b']
  expect(await health.problems()).toMatchObject([
    { code: 'ENGINE_RESTARTING', message: 'The engine of org/b is being opened again.', isFatal: true },
  ])
})

it('says that the database or the state directory takes nothing any more, and tells no path', async () => {
  await db.destroy()
  rmSync(stateDir, { recursive: true })
  const problems = await health.problems()
  expect(problems.map(({ code }) => code)).toEqual(['DATABASE_NOT_WRITABLE', 'STATE_NOT_WRITABLE'])
  expect(JSON.stringify(problems)).not.toContain(stateDir)
  stateDir = mkdtempSync(join(tmpdir(), 'twinkle-health-'))
})

it('says that the ends of operations wait for the disk', async () => {
  records.late = 2
  expect(await health.problems()).toMatchObject([{ code: 'RECORDS_WAIT', isFatal: true }])
})

it('looks once for all who ask within two seconds', async () => {
  expect(await codes(10_000)).toEqual([])
  restarting = ['org/a']
  expect(await codes(11_000)).toEqual([])
  expect(await codes(12_001)).toEqual(['ENGINE_RESTARTING'])
})
