// Transactions on a SQLite file that another process may hold locked (`twinkle keys create`, a backup). They wait for it
// without holding up the server, for SQLite's own waiting stands still on the thread that answers requests. There is no event
// to wait for, so they ask again and again. Every write takes the lock when it begins: nothing is half done while it waits.

import { setTimeout } from 'node:timers/promises'
import { type CompiledQuery, type DatabaseConnection, type Driver, SqliteDialect, SqliteDriver } from 'kysely'

/** Afterwards whoever waits gets SQLITE_BUSY; clients send the request again. */
const LIMIT_MS = 10_000
const PAUSE_MS = 10

const WRITES: ReadonlySet<string> = new Set(['InsertQueryNode', 'UpdateQueryNode', 'DeleteQueryNode'])

type Config = ConstructorParameters<typeof SqliteDialect>[0]

export interface TransactionSwitch {
  readonly inTransaction: boolean
  exec(sql: string): unknown
}

export class PatientSqliteDialect extends SqliteDialect {
  readonly #config: Config
  readonly #file: TransactionSwitch
  constructor(config: Config, file: TransactionSwitch) {
    super(config)
    this.#config = config
    this.#file = file
  }

  override createDriver(): Driver {
    return new PatientDriver(this.#config, this.#file)
  }
}

class PatientDriver extends SqliteDriver {
  readonly #file: TransactionSwitch
  constructor(config: Config, file: TransactionSwitch) {
    super(config)
    this.#file = file
  }

  /**
   * A transaction that reads first and writes then would fail, without waiting, where another process wrote in between. Not
   * by a prepared statement: libsql leaves one that found the lock taken open, and then nothing can be committed.
   */
  override async beginTransaction(): Promise<void> {
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

  /** Where the disk fails SQLite has done it by itself: doing it again is an error, which would hide the first one. */
  override async rollbackTransaction(): Promise<void> {
    if (this.#file.inTransaction) this.#file.exec('rollback')
  }

  override async acquireConnection(): Promise<DatabaseConnection> {
    const connection = await super.acquireConnection()
    return {
      executeQuery: async <R>(query: CompiledQuery) => {
        if (this.#file.inTransaction || !WRITES.has(query.query.kind)) return connection.executeQuery<R>(query)
        return this.#alone(() => connection.executeQuery<R>(query))
      },
      streamQuery: (query, chunkSize) => connection.streamQuery(query, chunkSize),
    }
  }

  /** A single write, as a transaction of its own. */
  async #alone<T>(write: () => Promise<T>): Promise<T> {
    await this.beginTransaction()
    try {
      const result = await write()
      this.#file.exec('commit')
      return result
    } catch (cause) {
      await this.rollbackTransaction()
      throw cause
    }
  }
}
