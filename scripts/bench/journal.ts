// What an acknowledgement costs on SQLite and on PostgreSQL, side by side in one run: the time in which the journal has a
// call of 4 KiB on the disk, one after the other and many at once.

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openDatabase } from '../../src/server/store/database.ts'
import { Journal, type NewOperation } from '../../src/server/store/journal.ts'
import { startPostgres } from '../../src/server/store/testing/postgres-server.ts'
import { quantile } from './measure.ts'

const ROUNDS = 10
const PER_ROUND = 100
const AT_ONCE = 16

const payload = new Uint8Array(4096)
const operation = (identity: string): NewOperation => ({
  tenant: 'bench',
  session: 's',
  subject: 's:train:0',
  kind: 'forward_backward',
  identity,
  payload,
})

/** Milliseconds of each. */
async function alone(journal: Journal, name: string): Promise<number[]> {
  const times: number[] = []
  for (let i = 0; i < PER_ROUND; i++) times.push(await timed(journal, `${name}:${i}`))
  return times
}

async function timed(journal: Journal, identity: string): Promise<number> {
  const start = performance.now()
  await journal.append(operation(identity))
  return performance.now() - start
}

/** Milliseconds of each, with so many under way. */
async function atOnce(journal: Journal, name: string): Promise<number[]> {
  let next = 0
  const worker = async () => {
    const times: number[] = []
    while (next < PER_ROUND) times.push(await timed(journal, `${name}:${next++}`))
    return times
  }
  return (await Promise.all(Array.from({ length: AT_ONCE }, worker))).flat()
}

export async function benchJournal(print: (text: string) => void): Promise<void> {
  const stateDir = mkdtempSync(join(tmpdir(), 'twinkle-journal-bench-'))
  const server = await startPostgres({ durable: true })
  const kinds = await Promise.all(
    [
      { name: 'SQLite', database: 'sqlite' },
      { name: `PostgreSQL ${server.version}, same machine, socket`, database: server.url('postgres') },
    ].map(async ({ name, database }) => ({ name, db: await openDatabase({ database, stateDir }) })),
  )
  const measured = kinds.map(({ name, db }) => {
    const times = { alone: [] as number[], crowd: [] as number[] }
    return { name, db, journal: new Journal(db, stateDir), ...times }
  })
  for (let round = -1; round < ROUNDS; round++) {
    for (const column of measured) {
      const one = await alone(column.journal, `a${round}`)
      const many = await atOnce(column.journal, `c${round}`)
      if (round < 0) continue
      column.alone.push(...one)
      column.crowd.push(...many)
    }
  }
  const rows = measured.map(({ name, alone: one, crowd }) => {
    const figures = [quantile(one, 0.5), quantile(one, 0.95), quantile(crowd, 0.5), quantile(crowd, 0.95)]
    return `| ${name} | ${figures.map((ms) => ms.toFixed(2)).join(' | ')} |`
  })
  print(
    [
      `| append to the journal, ms | p50 | p95 | p50, ${AT_ONCE} at once | p95, ${AT_ONCE} at once |`,
      '| --- | ---: | ---: | ---: | ---: |',
      ...rows,
    ].join('\n'),
  )
  for (const { db } of measured) await db.destroy()
  await server.stop()
  rmSync(stateDir, { recursive: true })
}
