// Connections to PostgreSQL that outlive its restarts: whoever asks for one waits a while until there is one again, and a
// read whose connection broke is done again. What may have been written is left to those who know whether it may be written
// twice (transact.ts): they get DATABASE_AWAY.

import { setTimeout } from 'node:timers/promises'
import {
  CompiledQuery,
  type DatabaseConnection,
  type Dialect,
  type Driver,
  PostgresAdapter,
  PostgresIntrospector,
  PostgresQueryCompiler,
  type QueryResult,
  type TransactionSettings,
} from 'kysely'
import type { Pool, PoolClient } from 'pg'
import { ServiceError, serviceError } from '../errors.ts'

/** How long a request waits for the database to come back. Clients send what fails then again. */
const PATIENCE_MS = 15_000
const PAUSE_MS = { first: 50, most: 1000 }

export function lastingPostgres(pool: Pool): Dialect {
  return {
    createDriver: () => new LastingDriver(pool),
    createAdapter: () => new PostgresAdapter(),
    createQueryCompiler: () => new PostgresQueryCompiler(),
    createIntrospector: (db) => new PostgresIntrospector(db),
  }
}

class LastingDriver implements Driver {
  readonly #pool: Pool
  #isClosed = false
  constructor(pool: Pool) {
    this.#pool = pool
  }

  async init(): Promise<void> {}

  async acquireConnection(): Promise<LastingConnection> {
    const connection = new LastingConnection(() => this.#connect())
    await connection.connect()
    return connection
  }

  async beginTransaction(connection: LastingConnection, { isolationLevel }: TransactionSettings): Promise<void> {
    await connection.begin(isolationLevel ? `start transaction isolation level ${isolationLevel}` : 'begin')
  }

  async commitTransaction(connection: LastingConnection): Promise<void> {
    await connection.end('commit')
  }

  async rollbackTransaction(connection: LastingConnection): Promise<void> {
    await connection.end('rollback').catch((cause) => {
      // Where the connection is gone, so is the transaction.
      if (!isAway(cause)) throw cause
    })
  }

  async releaseConnection(connection: LastingConnection): Promise<void> {
    connection.release()
  }

  async destroy(): Promise<void> {
    this.#isClosed = true
    await this.#pool.end()
  }

  async #connect(): Promise<PoolClient> {
    const end = Date.now() + PATIENCE_MS
    for (let pause = PAUSE_MS.first; ; pause = Math.min(PAUSE_MS.most, 2 * pause)) {
      try {
        return await this.#pool.connect()
      } catch (cause) {
        // The database was there when the server started: whatever it says now, it may be there again.
        if (this.#isClosed || Date.now() + pause > end) throw serviceError('DATABASE_AWAY', {}, { cause })
        await setTimeout(pause)
      }
    }
  }
}

class LastingConnection implements DatabaseConnection {
  readonly #open: () => Promise<PoolClient>
  #client: PoolClient | null = null
  #inTransaction = false
  constructor(open: () => Promise<PoolClient>) {
    this.#open = open
  }

  async connect(): Promise<PoolClient> {
    this.#client ??= await this.#open()
    return this.#client
  }

  release(): void {
    this.#client?.release()
    this.#client = null
  }

  /** It is broken, and leaves the pool, though it may not have noticed yet. */
  #drop(): void {
    this.#client?.release(true)
    this.#client = null
  }

  async begin(words: string): Promise<void> {
    await this.#send(CompiledQuery.raw(words), true)
    this.#inTransaction = true
  }

  async end(words: 'commit' | 'rollback'): Promise<void> {
    this.#inTransaction = false
    if (!this.#client) throw serviceError('DATABASE_AWAY')
    await this.#send(CompiledQuery.raw(words), false)
  }

  async executeQuery<R>(query: CompiledQuery): Promise<QueryResult<R>> {
    return this.#send<R>(query, query.query.kind === 'SelectQueryNode' && !this.#inTransaction)
  }

  /**
   * What is repeatable is done again where the connection broke: at once, for a restart breaks all that the pool has, and the
   * next one may not have heard of it.
   */
  async #send<R>({ sql, parameters }: CompiledQuery, isRepeatable: boolean): Promise<QueryResult<R>> {
    // A transaction ends with its connection: what is left of it must not go to another one.
    if (this.#inTransaction && !this.#client) throw serviceError('DATABASE_AWAY')
    const values = parameters.map(storable)
    for (const end = Date.now() + PATIENCE_MS; ; ) {
      try {
        return resultOf<R>(await (await this.connect()).query(sql, values))
      } catch (cause) {
        if (!isConnectionLoss(cause)) throw cause
        this.#drop()
        if (!isRepeatable || Date.now() > end) throw serviceError('DATABASE_AWAY', {}, { cause })
      }
    }
  }

  streamQuery(): AsyncIterableIterator<QueryResult<never>> {
    throw new TypeError('queries are not streamed here')
  }
}

function resultOf<R>({ command, rowCount, rows }: { command: string; rowCount: number | null; rows: unknown[] }) {
  const isChange = ['INSERT', 'UPDATE', 'DELETE', 'MERGE'].includes(command)
  return { rows: rows as R[], ...(isChange && { numAffectedRows: BigInt(rowCount ?? 0) }) }
}

/** PostgreSQL's text holds no NUL. As half a surrogate pair, which no UTF-8 holds, it becomes the replacement character. */
function storable(parameter: unknown): unknown {
  return typeof parameter === 'string' && parameter.includes('\0') ? parameter.replaceAll('\0', '\ufffd') : parameter
}

const LOST: ReadonlySet<unknown> = new Set([
  ...['ECONNREFUSED', 'ECONNRESET', 'ENOENT', 'EPIPE', 'ETIMEDOUT', 'EHOSTUNREACH', 'ENETUNREACH', 'EAI_AGAIN'],
  // Shut down, crashed, starting up; and the class of connection exceptions.
  ...['57P01', '57P02', '57P03', '08000', '08003', '08006'],
  // Ended for its silence: this server was paused in the middle of a transaction.
  '25P03',
])
/** pg gives these without a code. */
const LOST_WORDS =
  /^(Connection terminated|Client has encountered a connection error|timeout exceeded when trying to connect)/

function isConnectionLoss(cause: unknown): boolean {
  if (!(cause instanceof Error)) return false
  const { code, errors } = cause as { code?: unknown; errors?: unknown[] }
  return LOST.has(code) || LOST_WORDS.test(cause.message) || (errors?.some(isConnectionLoss) ?? false)
}

export function isAway(cause: unknown): boolean {
  return cause instanceof ServiceError && cause.code === 'DATABASE_AWAY'
}
