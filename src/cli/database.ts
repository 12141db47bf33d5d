// The database of a server for a command that runs beside the server or without one: opened, used, closed.

import type { Kysely } from 'kysely'
import { loadConfig, type ServerConfig } from '../server/config.ts'
import { checkUsed, openDatabase } from '../server/store/database.ts'
import type { Database } from '../server/store/schema.ts'
import type { ServeFlags } from './serve.ts'

/** @param mayCreate Whether a directory that no server has used yet is begun; else it is an error (STORAGE). */
export async function withDatabase<T>(
  { config: file, ...flags }: ServeFlags,
  mayCreate: boolean,
  work: (db: Kysely<Database>, config: ServerConfig) => Promise<T>,
): Promise<T> {
  const { config } = await loadConfig({ flags, env: process.env, ...(file === undefined ? {} : { file }) })
  if (!mayCreate) checkUsed(config)
  const db = await openDatabase(config)
  try {
    return await work(db, config)
  } finally {
    await db.destroy()
  }
}
