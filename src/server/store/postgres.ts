// A database of a PostgreSQL server: pg through Kysely, values as SQLite gives them. Knows addresses, types and what a
// database must be like; how connections are lost and found again is postgres-driver.ts's.

import { Kysely } from 'kysely'
import type { ClientBase, ClientConfig, Client as PgClient } from 'pg'
import { shownDatabase } from '../config-values.ts'
import { ServiceError, serviceError } from '../errors.ts'
import { missingPackage } from '../missing-package.ts'
import { emptyLists } from './empty-lists.ts'
import { lastingPostgres } from './postgres-driver.ts'
import { postgresWords } from './postgres-words.ts'
import type { Database } from './schema.ts'

/** Connections of one server at most; requests beyond wait for one. */
const CONNECTIONS = 16
const CONNECT_TIMEOUT_MS = 10_000
/** A server that is paused in the middle of a transaction must not hold up those that take its work over. */
const IDLE_TRANSACTION_MS = 10_000

/** Throws DATABASE_UNREACHABLE, DATABASE_UNFIT and MISSING_PACKAGE. */
export async function connectPostgres(url: string, log: (cause: unknown) => void): Promise<Kysely<Database>> {
  const pg = await loadPg()
  await checkPostgres(url)
  const onConnect = async (client: ClientBase) => {
    await client.query(DURABLE)
  }
  const pool = new pg.Pool({ ...(await clientConfig(url)), max: CONNECTIONS, onConnect })
  // Of a connection in use: whoever uses it hears of it from its query. Without a listener the process would end.
  pool.on('connect', (client) => client.on('error', () => {}))
  pool.on('error', log)
  return new Kysely<Database>({ dialect: lastingPostgres(pool), plugins: [emptyLists, postgresWords] })
}

/** A connection of its own, for what belongs to a connection, such as LISTEN. Not connected yet. */
export async function newPostgresClient(url: string): Promise<PgClient> {
  const pg = await loadPg()
  return new pg.Client(await clientConfig(url))
}

async function loadPg() {
  const { default: pg } = await import('pg').catch((cause) => {
    throw missingPackage('pg', 'a PostgreSQL database', cause)
  })
  return pg
}

async function clientConfig(url: string): Promise<ClientConfig> {
  const { types } = await loadPg()
  const parsers: Readonly<Record<number, (text: string) => unknown>> = {
    [types.builtins.INT8]: exactNumber,
    [types.builtins.NUMERIC]: exactNumber,
    [types.builtins.BYTEA]: (text) => plainBytes(types.getTypeParser(types.builtins.BYTEA, 'text')(text) as Buffer),
  }
  return {
    connectionString: url,
    application_name: 'twinkle',
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    idle_in_transaction_session_timeout: IDLE_TRANSACTION_MS,
    keepAlive: true,
    types: {
      getTypeParser: ((oid: number, format: 'text') => parsers[oid] ?? types.getTypeParser(oid, format)) as never,
    },
  }
}

/** Times, sizes and counts. A number that JavaScript would round is a mistake of ours and not passed on. */
function exactNumber(text: string): number {
  const number = Number(text)
  if (!Number.isSafeInteger(number)) throw new RangeError(`the database holds ${text}, which is no exact number here`)
  return number
}

const plainBytes = ({ buffer, byteOffset, byteLength }: Buffer) => new Uint8Array(buffer, byteOffset, byteLength)

/** An acknowledged row survives power loss, though the server may be set to something weaker. */
const DURABLE = `select set_config('synchronous_commit', 'on', false)
  where current_setting('synchronous_commit') = 'off'`

const FACTS = `select current_setting('server_encoding') as encoding, pg_is_in_recovery() as standby,
  current_setting('server_version') as version`

interface Facts {
  readonly encoding: string
  readonly standby: boolean
  readonly version: string
}

/**
 * Gives the server's version. One try: whoever starts a server is told what is wrong, at once. Throws DATABASE_UNREACHABLE,
 * DATABASE_UNFIT and MISSING_PACKAGE.
 */
export async function checkPostgres(url: string): Promise<string> {
  const database = shownDatabase(url)
  const client = await newPostgresClient(url)
  client.on('error', () => {})
  try {
    await client.connect()
    const { rows } = await client.query<Facts>(FACTS)
    const { encoding, standby, version } = rows[0] as Facts
    const problem = encoding !== 'UTF8' ? `its encoding is ${encoding}, not UTF8` : standby ? READ_ONLY : null
    if (problem !== null) throw serviceError('DATABASE_UNFIT', { database, problem })
    return version
  } catch (cause) {
    if (cause instanceof ServiceError) throw cause
    throw serviceError('DATABASE_UNREACHABLE', { database, problem: problemOf(cause) }, { cause })
  } finally {
    await client.end().catch(() => {})
  }
}

const READ_ONLY = 'it is a standby that takes no changes'

/** Where a name has several addresses, Node gives one error without a sentence for all. */
function problemOf(cause: unknown): string {
  const { message, code, errors } = cause as { message: string; code?: string; errors?: Error[] }
  return message || errors?.[0]?.message || code || 'no reason was given'
}
