// The database of a state directory for a command that runs beside the server or without one: opened, used, closed.

import { existsSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import type { Kysely } from 'kysely'
import { loadConfig, type ServerConfig } from '../server/config.ts'
import { serviceError } from '../server/errors.ts'
import type { Database } from '../server/store/schema.ts'
import { openSqlite } from '../server/store/sqlite.ts'
import type { ServeFlags } from './serve.ts'

/** @param mayCreate Whether a directory that no server has used yet is begun; else it is an error (STORAGE). */
export async function withDatabase<T>(
  { config: file, ...flags }: ServeFlags,
  mayCreate: boolean,
  work: (db: Kysely<Database>, config: ServerConfig) => Promise<T>,
): Promise<T> {
  const { config } = await loadConfig({ flags, env: process.env, ...(file === undefined ? {} : { file }) })
  const path = join(config.stateDir, 'twinkle.db')
  if (mayCreate) mkdirSync(config.stateDir, { recursive: true })
  else if (!existsSync(path)) throw serviceError('STORAGE', { action: 'read', problem: `${path} does not exist` })
  const db = await openSqlite(path)
  try {
    return await work(db, config)
  } finally {
    await db.destroy()
  }
}
