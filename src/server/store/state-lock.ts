// One server for one state directory: a second one would end the first one's operations. The lock is SQLite's own on a
// file beside the database, so the system gives it back however the process ends.

import { join } from 'node:path'
import { serviceError } from '../errors.ts'
import { storageProblem } from '../storage-problems.ts'
import { openLibsql } from './sqlite-file.ts'

export interface StateLock {
  release(): void
}

/** Throws STATE_IN_USE when another server holds the directory, STORAGE when its disk takes nothing. */
export async function lockStateDir(stateDir: string): Promise<StateLock> {
  const database = await openLibsql(join(stateDir, 'lock.db'))
  try {
    database.exec('PRAGMA busy_timeout = 0; BEGIN EXCLUSIVE')
  } catch (cause) {
    database.close()
    if ((cause as { code?: unknown }).code === 'SQLITE_BUSY') {
      throw serviceError('STATE_IN_USE', { folder: stateDir }, { cause })
    }
    const problem = storageProblem(cause) ?? (cause as Error).message
    throw serviceError('STORAGE', { action: 'written', problem: `${problem} (${stateDir})` }, { cause })
  }
  return { release: () => database.close() }
}
