// Vitest's global set-up of the tests that run on PostgreSQL: one server for all of them, with a database that has all tables
// already; each test gets a copy (databases.ts).

import type { TestProject } from 'vitest/node'
import { openDatabase } from '../database.ts'
import { startPostgres } from './postgres-server.ts'

declare module 'vitest' {
  interface ProvidedContext {
    /** The address of that database; undefined: these tests run on SQLite. */
    postgres: string | undefined
  }
}

export default async function setup({ provide }: TestProject) {
  const server = await startPostgres()
  const url = server.url('postgres')
  const db = await openDatabase({ database: url, stateDir: '' })
  await db.destroy()
  provide('postgres', url)
  return () => server.stop()
}
