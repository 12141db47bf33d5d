// What a state directory holds, in numbers: for its operator, from the database and the files alone, also while a server
// works on it. It changes nothing.

import { existsSync } from 'node:fs'
import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { serviceError } from '../errors.ts'
import { openDriver } from './sqlite.ts'

export interface StateFacts {
  /** Rows by state. */
  readonly operations: Readonly<Record<string, number>>
  readonly runs: Readonly<Record<string, number>>
  readonly checkpoints: number
  readonly restartPoints: number
  /** Started after its run's restart point: what bringing all runs back would repeat at most. */
  readonly toRepeat: number
  readonly bytes: { readonly database: number; readonly blobs: number; readonly adapters: number }
}

/** Throws STORAGE where no server has kept its state. */
export async function stateFacts(stateDir: string): Promise<StateFacts> {
  const file = join(stateDir, 'twinkle.db')
  if (!existsSync(file)) throw serviceError('STORAGE', { action: 'read', problem: `${file} does not exist` })
  const database = await openDriver(file)
  try {
    const all = (sql: string) => database.prepare(sql).all([]) as Record<string, string | number>[]
    const count = (sql: string) => Number(all(`select count(*) as n from ${sql}`)[0]?.n ?? 0)
    const byState = (table: string) =>
      Object.fromEntries(all(`select state, count(*) as n from ${table} group by state`).map((r) => [r.state, r.n]))
    return {
      operations: byState('operations') as Record<string, number>,
      runs: byState('runs') as Record<string, number>,
      checkpoints: count('checkpoints'),
      restartPoints: count('runs where restart_folder is not null'),
      toRepeat: count(`operations o join runs r on r.id = o.subject
        where r.state in ('creating', 'ready') and o.position > r.restart_position`),
      bytes: {
        database: (await bytesOf(file)) + (await bytesOf(`${file}-wal`)),
        blobs: await bytesOf(join(stateDir, 'blobs')),
        adapters: await bytesOf(join(stateDir, 'checkpoints')),
      },
    }
  } finally {
    database.close()
  }
}

/** Of a file, or of all files below a folder; what is not there has none. */
async function bytesOf(path: string): Promise<number> {
  const found = await stat(path).catch(() => null)
  if (!found?.isDirectory()) return found?.size ?? 0
  const names = await readdir(path)
  const sizes = await Promise.all(names.map((name) => bytesOf(join(path, name))))
  return sizes.reduce((sum, size) => sum + size, 0)
}
