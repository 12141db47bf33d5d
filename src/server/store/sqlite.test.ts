import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { type Kysely, sql } from 'kysely'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { toServiceError } from '../errors.ts'
import { Journal, type NewOperation } from './journal.ts'
import type { Database } from './schema.ts'
import { openSqlite } from './sqlite.ts'
import { openLibsql } from './sqlite-file.ts'

let stateDir: string
let file: string
let db: Kysely<Database>

beforeEach(async () => {
  stateDir = mkdtempSync(join(tmpdir(), 'twinkle-sqlite-'))
  file = join(stateDir, 'twinkle.db')
  db = await openSqlite(file)
})
afterEach(async () => {
  await db.destroy()
  rmSync(stateDir, { recursive: true })
})

const call: NewOperation = {
  ...{ tenant: 'anna', session: 's', subject: 's:train:0', kind: 'optim_step', identity: 'run:s:train:0:1' },
  payload: new Uint8Array(10),
}

describe('a database that another process has locked', () => {
  it('keeps a submission waiting, not the server', async () => {
    const other = await openLibsql(file)
    other.exec('begin immediate')
    const submission = new Journal(db, stateDir).append(call)
    // Waiting in SQLite, this turn of the event loop would not come before it had given up.
    await setTimeout(30)
    other.exec('commit')
    expect(await submission).toMatchObject({ isNew: true })
    other.close()
  })

  it('keeps a single write waiting, which changes what is there then', async () => {
    const other = await openLibsql(file)
    other.exec("begin immediate; insert into refused_numbers (run, seq) values ('r', 1)")
    const removal = db.deleteFrom('refused_numbers').executeTakeFirst()
    await setTimeout(30)
    other.exec('commit')
    expect(await removal).toMatchObject({ numDeletedRows: 1n })
    other.close()
  })
})

describe('a transaction that the disk has ended', () => {
  it('says what the disk said', async () => {
    const failed = db.transaction().execute(async (trx) => {
      await trx.insertInto('refused_numbers').values({ run: 'r', seq: 1 }).execute()
      // As SQLite does where it can write no more.
      await sql`rollback`.execute(trx)
      throw Object.assign(new Error('disk I/O error'), { code: 'SQLITE_IOERR_WRITE' })
    })
    const error = await failed.catch(toServiceError)
    expect(error).toMatchObject({ code: 'STORAGE_FAILS', status: 503 })
    expect(await db.selectFrom('refused_numbers').selectAll().execute()).toEqual([])
  })
})
