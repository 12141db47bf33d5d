// A SQLite file as libsql has it open: rows without libsql's extras, statements that are prepared once, and the sync of its
// write-ahead log, which libsql would do on the thread of the server. Knows files and statements, not who uses them when.

import { closeSync, fdatasync, openSync } from 'node:fs'
import { promisify } from 'node:util'
import type { CompiledQuery, QueryResult } from 'kysely'
import { missingPackage } from '../missing-package.ts'

/** The part of the better-sqlite3 interface that we need; libsql has the same. */
export interface LibsqlDatabase {
  readonly inTransaction: boolean
  exec(sql: string): unknown
  close(): void
  prepare(sql: string): LibsqlStatement
}

interface LibsqlStatement {
  readonly reader: boolean
  all(parameters: readonly unknown[]): unknown[]
  run(parameters: readonly unknown[]): { changes: number; lastInsertRowid: number | bigint }
}

/** Statements kept; lists of many lengths would otherwise be many. */
const MOST_STATEMENTS = 200
/** What may be kept: the columns of a table may be others after anything else. */
const KEPT = /^(select|insert|update|delete) /i

const datasync = promisify(fdatasync)

export async function openLibsql(file: string): Promise<LibsqlDatabase> {
  const libsql = await import('libsql').catch((cause) => {
    throw missingPackage('libsql', 'the SQLite database', cause)
  })
  return new libsql.default(file) as unknown as LibsqlDatabase
}

export class SqliteFile {
  readonly #database: LibsqlDatabase
  /** Null: a database in memory. */
  readonly #log: string | null
  readonly #statements = new Map<string, LibsqlStatement>()
  #logFile: number | null = null

  constructor(database: LibsqlDatabase, file: string) {
    this.#database = database
    this.#log = file === ':memory:' ? null : `${file}-wal`
  }

  get inTransaction(): boolean {
    return this.#database.inTransaction
  }

  exec(sql: string): void {
    this.#database.exec(sql)
  }

  run<R>({ sql, parameters }: CompiledQuery): QueryResult<R> {
    const statement = this.#prepared(sql)
    try {
      if (statement.reader) return { rows: statement.all(parameters).map((row) => cleanRow(row) as R) }
      const { changes } = statement.run(parameters)
      return { rows: [], numAffectedRows: BigInt(changes) }
    } catch (cause) {
      // It may be half done, and would hold the database as it was then.
      this.#statements.delete(sql)
      throw cause
    }
  }

  #prepared(sql: string): LibsqlStatement {
    const known = this.#statements.get(sql)
    if (known) return known
    const statement = this.#database.prepare(sql)
    if (!KEPT.test(sql)) this.#statements.clear()
    else {
      this.#statements.set(sql, statement)
      const [oldest] = this.#statements.keys()
      if (this.#statements.size > MOST_STATEMENTS) this.#statements.delete(oldest as string)
    }
    return statement
  }

  /** What is committed is on the disk afterwards. In a thread of the pool. Throws SQLITE_IOERR_FSYNC, as libsql would. */
  async sync(): Promise<void> {
    if (this.#log === null) return
    try {
      // SQLite makes the log with the first transaction, and it stays the same file for as long as anybody has it open.
      this.#logFile ??= openSync(this.#log, 'r+')
      await datasync(this.#logFile)
    } catch (cause) {
      throw notSynced('the write-ahead log of the database could not be synced', cause)
    }
  }

  /**
   * The same by SQLite's own means: what is committed is copied from the log to the database and synced there. Holds the
   * thread, and must not be called in a transaction.
   */
  checkpoint(): void {
    const [row] = this.#database.prepare('pragma wal_checkpoint(full)').all([]) as Record<string, number>[]
    if (row?.busy !== 0 || row.log !== row.checkpointed) throw notSynced('the database could not be synced', row)
  }

  close(): void {
    if (this.#logFile !== null) closeSync(this.#logFile)
    this.#statements.clear()
    this.#database.close()
  }
}

const notSynced = (message: string, cause: unknown) =>
  Object.assign(new Error(message, { cause }), { code: 'SQLITE_IOERR_FSYNC' })

/** libsql adds a `_metadata` key to rows and gives blobs as ArrayBuffer; neither may leave this file. */
function cleanRow(row: unknown): Record<string, unknown> {
  const clean: Record<string, unknown> = {}
  for (const [key, value] of Object.entries(row as Record<string, unknown>)) {
    if (key !== '_metadata') clean[key] = value instanceof ArrayBuffer ? new Uint8Array(value) : value
  }
  return clean
}
