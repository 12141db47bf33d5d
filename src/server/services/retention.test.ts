// How checkpoints end, on a real database and folder, with a clock that the test holds.

import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Kysely } from 'kysely'
import sinon from 'sinon'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { Database } from '../store/schema.ts'
import { openSqlite } from '../store/sqlite.ts'
import { Checkpoints } from './checkpoints.ts'
import { Retention } from './retention.ts'
import type { Run } from './runs.ts'

const HOUR = 3_600_000
const RUN = {
  id: 's:train:0',
  tenant: 'anna',
  base_model: 'tiny',
  rank: 4,
  alpha: 32,
  train_attention: 1,
  train_mlp: 1,
  train_unembed: 1,
} as Run

let stateDir: string
let clock: sinon.SinonFakeTimers
let db: Kysely<Database>
let checkpoints: Checkpoints
let retention: Retention

beforeEach(async () => {
  stateDir = mkdtempSync(join(tmpdir(), 'twinkle-retention-'))
  clock = sinon.useFakeTimers({ now: Date.now(), toFake: ['setTimeout', 'clearTimeout', 'Date'] })
  await open()
})
afterEach(async () => {
  await close()
  clock.restore()
  rmSync(stateDir, { recursive: true })
})
async function open() {
  db = await openSqlite(join(stateDir, 'twinkle.db'))
  checkpoints = new Checkpoints(db, stateDir)
  retention = new Retention(db, checkpoints, (cause) => {
    throw cause
  })
  await retention.start()
}
async function close() {
  await retention.close()
  await db.destroy()
}

async function save(name: string, ttlSeconds: number | null): Promise<string> {
  const folder = checkpoints.newFolder(RUN.id, 'weights')
  mkdirSync(folder.absolute)
  writeFileSync(join(folder.absolute, 'w'), name)
  const checkpoint = {
    kind: 'weights',
    name,
    overwrite: false,
    ttlSeconds,
    userMetadata: {},
    hasOptimizer: true,
  } as const
  await db.transaction().execute((trx) => checkpoints.register(trx, RUN, checkpoint, folder.relative, []))
  return folder.absolute
}
const names = async () => (await db.selectFrom('checkpoints').select('name').orderBy('id').execute()).map((c) => c.name)
const path = (name: string) => `tinker://${RUN.id}/weights/${name}`

/** Moves the clock and waits for the removal that it started. */
async function pass(ms: number) {
  clock.tick(ms)
  await retention.settled()
}

describe('Retention', () => {
  it('removes each checkpoint when its time is over, row and files, with one timer for all', async () => {
    const folders = [await save('b', 7200), await save('a', 3600), await save('c', null)]
    expect(clock.countTimers()).toBe(1)
    await pass(HOUR)
    expect([await names(), folders.map((f) => existsSync(f))]).toEqual([
      ['b', 'c'],
      [true, false, true],
    ])
    await pass(HOUR)
    expect([await names(), folders.map((f) => existsSync(f))]).toEqual([['c'], [false, false, true]])
    expect(clock.countTimers()).toBe(0)
  })

  it('finds what another server on the same database has set, in time', async () => {
    const other = new Retention(db, new Checkpoints(db, stateDir), () => {}, true)
    await other.start()
    await retention.close()
    await save('a', 3600)
    clock.tick(HOUR)
    await other.settled()
    expect(await names()).toEqual([])
    await other.close()
  })

  it('follows a time that is set later, and one that is taken back', async () => {
    await save('a', null)
    await save('b', 3600)
    await retention.setTtl('anna', path('a'), 3600)
    await retention.setTtl('anna', path('b'), null)
    await pass(2 * HOUR)
    expect(await names()).toEqual(['b'])
    await expect(retention.setTtl('anna', path('b'), 60)).rejects.toMatchObject({ code: 'INVALID_TTL' })
    await expect(retention.setTtl('bert', path('b'), 3600)).rejects.toMatchObject({ code: 'CHECKPOINT_NOT_FOUND' })
  })

  it('removes at the start what expired while nobody looked', async () => {
    const folder = await save('a', 3600)
    await close()
    clock.tick(2 * HOUR)
    await open()
    expect([await names(), existsSync(folder)]).toEqual([[], false])
  })
})
