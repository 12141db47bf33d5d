// A crash test of two servers that share a database: the same work twice, once undisturbed and once with a server killed or
// paused in every round, the one with the engines too; and what the two have in common. It returns a verdict.

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { newPostgresClient } from '../../src/server/store/postgres.ts'
import { type PostgresServer, startPostgres } from '../../src/server/store/testing/postgres-server.ts'
import { placeless } from './autopsy.ts'
import { ServerPair } from './server-pair.ts'
import { newTenant } from './tenants.ts'
import { CROWD, deviation, differences, type Life, lived, OWN_MODEL, SHARED_MODEL } from './trial.ts'
import { Witness } from './witness.ts'

const MODEL = fileURLToPath(new URL('../../models/tiny', import.meta.url))

/** What happens to the one with the engines, or to the other one. */
export const MISHAPS = ['owner killed', 'owner paused', 'other killed', 'owner stopped'] as const
export type Mishap = (typeof MISHAPS)[number]

export interface PairVerdict {
  readonly acknowledged: number
  readonly resent: number
  /** Requests by server. */
  readonly passed: readonly number[]
  readonly crowdDeviation: number
  /** What was promised and not kept. */
  readonly broken: readonly string[]
}

/** One round for each mishap. */
export async function runPairTrial(mishaps: readonly Mishap[], log: (line: string) => void): Promise<PairVerdict> {
  const postgres = await startPostgres()
  try {
    log('the undisturbed run')
    const calm = await livedThrough(postgres, 'calm', mishaps.length, async () => {})
    const stormy = await livedThrough(postgres, 'stormy', mishaps.length, async (pair, round) => {
      await sleep(calm.life.roundMs / 3)
      const start = performance.now()
      await befall(pair, mishaps[round] as Mishap)
      log(`round ${round + 1}: ${mishaps[round]}, over after ${Math.round(performance.now() - start)} ms`)
    })
    const { acknowledged, resent, passed, life } = stormy
    const crowdDeviation = Math.max(...CROWD.map((name) => deviation(calm.life.looks.get(name), life.looks.get(name))))
    const broken = [...calm.broken, ...stormy.broken, ...differences(calm.life, life, crowdDeviation)]
    return { acknowledged, resent, passed, crowdDeviation, broken }
  } finally {
    await postgres.stop()
  }
}

async function befall(pair: ServerPair, mishap: Mishap): Promise<void> {
  const owner = await pair.owner()
  const other = pair.other(owner)
  if (mishap === 'other killed') {
    await pair.fall(other)
    return pair.rise(other)
  }
  if (mishap === 'owner paused') {
    owner.pause()
    await pair.takenFrom(owner)
    return owner.resume()
  }
  await (mishap === 'owner killed' ? pair.fall(owner) : pair.end(owner))
  await pair.takenFrom(owner)
  await pair.rise(owner)
}

async function livedThrough(
  postgres: PostgresServer,
  name: string,
  rounds: number,
  disturb: (pair: ServerPair, round: number) => Promise<void>,
) {
  const stateDir = await mkdtemp(join(tmpdir(), 'twinkle-pair-'))
  await newDatabase(postgres, name)
  const models = [OWN_MODEL, SHARED_MODEL].flatMap((model) => ['--model', `${model}=${MODEL}`])
  const pair = await ServerPair.open({ database: postgres.url(name), stateDir }, models)
  try {
    const url = await pair.start()
    const witness = new Witness(async () => url)
    const where = { url, fetch: witness.fetch }
    const tenants = [await newTenant(where, 'anna', OWN_MODEL, true)]
    for (const crowded of CROWD) tenants.push(await newTenant(where, crowded, SHARED_MODEL, false))
    const life = await lived(tenants, rounds, (round) => disturb(pair, round))
    const [path] = await Promise.all(tenants.map((tenant) => tenant.save('end')))
    await Promise.all(tenants.map((tenant) => tenant.close()))
    await witness.ask(url)
    const files = await filesOf(pair, path as string)
    await pair.stop()
    const { acknowledged, resent } = witness
    const broken = [...witness.broken, ...(await placeless({ database: postgres.url(name), stateDir }))]
    return { acknowledged, resent, broken, passed: pair.passed, life: { ...life, files } satisfies Life }
  } finally {
    await pair.destroy()
    await rm(stateDir, { recursive: true, force: true })
  }
}

async function newDatabase(postgres: PostgresServer, name: string): Promise<void> {
  const client = await newPostgresClient(postgres.url('postgres'))
  await client.connect()
  await client.query(`create database ${name}`)
  await client.end()
}

/** Names and hashes of the files of a checkpoint. */
async function filesOf({ db }: ServerPair, path: string): Promise<string> {
  const [, run = '', kind = '', name = ''] = /^tinker:\/\/([^/]+)\/([^/]+)\/([^/]+)$/.exec(path) ?? []
  const row = await db
    .selectFrom('checkpoints')
    .select('files')
    .where('run', '=', run)
    .where('kind', '=', kind as 'weights')
    .where('name', '=', name)
    .executeTakeFirst()
  return row?.files ?? 'none'
}
