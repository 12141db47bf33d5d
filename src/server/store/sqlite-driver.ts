// Kysely's way to the one connection to a SQLite file. Everybody has it in turn, and gives it back before waiting for the disk:
// commits that come while another is synced share the next sync (shared-sync.ts), which a thread of the pool waits for and
// not the event loop. Nobody hears of anything, written or read, that is not on the disk.
//
// Another process may hold the file locked (`twinkle keys create`, a backup). Transactions wait for it without holding up the
// server: SQLite's own waiting stands still on the thread that answers requests. There is no event to wait for, so they ask
// again and again. Every write takes the lock when it begins: nothing is half done while it waits.

import { setTimeout } from 'node:timers/promises'
import { type CompiledQuery, type DatabaseConnection, type Driver, type QueryResult, SqliteDialect } from 'kysely'
import { isLazyWord } from './lazy.ts'
import { SharedSync } from './shared-sync.ts'
import type { SqliteFile } from './sqlite-file.ts'
import { Turns } from './turns.ts'

/** Afterwards whoever waits gets SQLITE_BUSY; clients send the request again. */
const LIMIT_MS = 10_000
const PAUSE_MS = 10

const WRITES: ReadonlySet<string> = new Set(['InsertQueryNode', 'UpdateQueryNode', 'DeleteQueryNode'])

export class SharedSqliteDialect extends SqliteDialect {
  readonly #file: SqliteFile
  constructor(file: SqliteFile) {
    super({ database: file as never })
    this.#file = file
  }

  override createDriver(): Driver {
    return new SharedSqliteDriver(this.#file)
  }
}

class SharedSqliteDriver implements Driver {
  readonly #file: SqliteFile
  readonly #turns = new Turns()
  readonly #disk: SharedSync

  constructor(file: SqliteFile) {
    this.#file = file
    this.#disk = new SharedSync({ sync: () => file.sync(), repair: () => this.#repair() })
  }

  async init(): Promise<void> {}

  async acquireConnection(): Promise<SqliteTurn> {
    await this.#turns.take()
    return new SqliteTurn(this.#file, this.#disk)
  }

  async releaseConnection(): Promise<void> {
    this.#turns.pass()
    await this.#disk.reach()
  }

  async beginTransaction(turn: SqliteTurn): Promise<void> {
    await turn.begin()
  }

  async commitTransaction(turn: SqliteTurn): Promise<void> {
    turn.commit()
  }

  async rollbackTransaction(turn: SqliteTurn): Promise<void> {
    turn.rollback()
  }

  async destroy(): Promise<void> {
    await this.#turns.take()
    await this.#disk.reach().finally(() => this.#file.close())
  }

  async #repair(): Promise<void> {
    await this.#turns.take()
    try {
      this.#file.checkpoint()
    } finally {
      this.#turns.pass()
    }
  }
}

/** The connection, for as long as somebody has it. */
class SqliteTurn implements DatabaseConnection {
  readonly #file: SqliteFile
  readonly #disk: SharedSync
  #isLazy = false

  constructor(file: SqliteFile, disk: SharedSync) {
    this.#file = file
    this.#disk = disk
  }

  /**
   * A transaction that reads first and writes then would fail, without waiting, where another process wrote in between. Not
   * by a prepared statement: libsql leaves one that found the lock taken open, and then nothing can be committed.
   */
  async begin(): Promise<void> {
    const end = performance.now() + LIMIT_MS
    for (;;) {
      try {
        this.#file.exec('begin immediate')
        return
      } catch (cause) {
        if ((cause as { code?: unknown }).code !== 'SQLITE_BUSY' || performance.now() > end) throw cause
        await setTimeout(PAUSE_MS)
      }
    }
  }

  commit(): void {
    this.#file.exec('commit')
    if (!this.#isLazy) this.#disk.note()
  }

  /** Where the disk fails SQLite has done it by itself: doing it again is an error, which would hide the first one. */
  rollback(): void {
    if (this.#file.inTransaction) this.#file.exec('rollback')
  }

  async executeQuery<R>(query: CompiledQuery): Promise<QueryResult<R>> {
    if (isLazyWord(query)) {
      this.#isLazy = true
      return { rows: [] }
    }
    const { kind } = query.query
    if (this.#file.inTransaction || kind === 'SelectQueryNode') return this.#file.run<R>(query)
    if (WRITES.has(kind)) return this.#alone<R>(query)
    // Tables, pragmas: some of them may not be in a transaction.
    const result = this.#file.run<R>(query)
    this.#disk.note()
    return result
  }

  /** A single write, as a transaction of its own. */
  async #alone<R>(query: CompiledQuery): Promise<QueryResult<R>> {
    await this.begin()
    try {
      const result = this.#file.run<R>(query)
      this.commit()
      return result
    } catch (cause) {
      this.rollback()
      throw cause
    }
  }

  streamQuery(): AsyncIterableIterator<QueryResult<never>> {
    throw new TypeError('queries are not streamed here')
  }
}
