// A crash test: the same work twice, once undisturbed and once with the server or its engines killed in every round, and
// what the two have in common. It returns a verdict; printing is crashtest.ts's.

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { type DatabasePlace, openDatabase } from '../../src/server/store/database.ts'
import { type PostgresServer, startPostgres } from '../../src/server/store/testing/postgres-server.ts'
import { placeless, replayOf } from './autopsy.ts'
import { MortalServer, TARGETS, type Target } from './mortal-server.ts'
import { type Account, newTenant, type Tenant } from './tenants.ts'
import { Witness } from './witness.ts'

const MODEL = fileURLToPath(new URL('../../models/tiny', import.meta.url))
export const OWN_MODEL = 'crash/own'
export const SHARED_MODEL = 'crash/shared'
export const CROWD = ['bert', 'carl', 'dora']
/**
 * How far log-probabilities of crowded tenants may be from those of another run, in nats. Who shares a batch decides the
 * rounding of a gradient, and AdamW divides by its size: where that is near 0, rounding decides the sign of a whole step.
 */
export const CROWD_BOUND = 1e-3

export interface Trial {
  readonly rounds: number
  /** With PostgreSQL, its server is among those that are killed. */
  readonly database: 'sqlite' | 'postgres'
  /** Decides what is killed, and when. */
  readonly seed: number
  /** Among what it chooses; everything that there is when absent. */
  readonly victims?: readonly Victim[]
  readonly log: (line: string) => void
}

export type Victim = Target | 'database'

export interface Verdict {
  readonly acknowledged: number
  readonly kills: Readonly<Record<Victim, number>>
  /** Requests that died with the server and were sent again. */
  readonly resent: number
  /** Largest difference of a crowded tenant's log-probabilities from the undisturbed run, in nats. */
  readonly crowdDeviation: number
  /** What was promised and not kept; empty is what a crash test is for. */
  readonly broken: readonly string[]
}

export interface Life {
  readonly accounts: ReadonlyMap<string, readonly Account[]>
  readonly looks: ReadonlyMap<string, readonly number[]>
  /** Of the saved state of the tenant that works alone: what its files hold. */
  readonly files: string
  readonly roundMs: number
}

export const victimsOn = (database: Trial['database']): readonly Victim[] =>
  database === 'postgres' ? [...TARGETS, 'database'] : TARGETS

/** The same work without a death: what trials of as many rounds on the same database are compared with. */
export async function undisturbed({ rounds, database, log }: Pick<Trial, 'rounds' | 'database' | 'log'>) {
  log('the undisturbed run')
  return onDatabase(database, (ground) => livedThrough(rounds, ground, async () => {}))
}

export type Undisturbed = Awaited<ReturnType<typeof undisturbed>>

export async function runTrial(trial: Trial, known?: Undisturbed): Promise<Verdict> {
  const { rounds, seed, log, database, victims = victimsOn(database) } = trial
  const random = randomFrom(seed)
  const kills = { api: 0, engine: 0, both: 0, database: 0 }
  const marks: string[] = []
  const calm = known ?? (await undisturbed(trial))
  const disturb: Disturb = async (kill, round) => {
    const victim = victims[Math.floor(random() * victims.length)] as Victim
    const delay = Math.round(random() * calm.life.roundMs)
    await sleep(delay)
    kills[victim] += 1
    marks.push(`${new Date().toISOString()} ${victim}`)
    const start = performance.now()
    await kill(victim)
    log(`round ${round + 1}: killed ${victim} after ${delay} ms; back in ${Math.round(performance.now() - start)} ms`)
  }
  const { acknowledged, resent, broken, life } = await onDatabase(database, (ground) =>
    livedThrough(rounds, ground, disturb),
  )
  const crowdDeviation = Math.max(...CROWD.map((name) => deviation(calm.life.looks.get(name), life.looks.get(name))))
  const found = [...calm.broken, ...broken, ...differences(calm.life, life, crowdDeviation)]
  const all = found.length ? [...found, `what was killed, and when: ${marks.join(', ')}`] : []
  return { acknowledged, kills, resent, crowdDeviation, broken: all }
}

export function differences(calm: Life, life: Life, crowdDeviation: number): string[] {
  const found: string[] = []
  for (const [name, accounts] of calm.accounts) {
    const other = life.accounts.get(name)
    const round = accounts.findIndex((account, i) => JSON.stringify(account) !== JSON.stringify(other?.[i]))
    // Samples of a crowded tenant are drawn from weights that differ in their last bits.
    const isSame = CROWD.includes(name) ? sameSteps(accounts, other) : round === -1
    if (!isSame) found.push(`${name} was told something else in round ${round + 1} than in the undisturbed run`)
  }
  if (calm.files !== life.files)
    found.push('the adapter of the tenant alone is not bit-identical to the undisturbed one')
  if (crowdDeviation > CROWD_BOUND) found.push(`a crowded tenant is ${crowdDeviation} nats from the undisturbed run`)
  return found
}

const sameSteps = (a: readonly Account[], b: readonly Account[] | undefined) =>
  JSON.stringify(a.map(stepsOf)) === JSON.stringify(b?.map(stepsOf))
const stepsOf = (account: Account) => account.filter((entry) => typeof entry === 'number')

type Disturb = (kill: (victim: Victim) => Promise<void>, round: number) => Promise<void>

/** Where a server keeps its state, and the PostgreSQL server that it has part of it on. */
interface Ground extends DatabasePlace {
  readonly postgres: PostgresServer | null
}

async function onDatabase<T>(database: Trial['database'], live: (ground: Ground) => Promise<T>): Promise<T> {
  const stateDir = await mkdtemp(join(tmpdir(), 'twinkle-crash-'))
  const postgres = database === 'postgres' ? await startPostgres({ durable: true }) : null
  try {
    return await live({ stateDir, postgres, database: postgres?.url('postgres') ?? 'sqlite' })
  } finally {
    await postgres?.stop()
    await rm(stateDir, { recursive: true, force: true })
  }
}

async function livedThrough(rounds: number, ground: Ground, disturb: Disturb) {
  const models = [OWN_MODEL, SHARED_MODEL].flatMap((name) => ['--model', `${name}=${MODEL}`])
  const server = new MortalServer(['--state-dir', ground.stateDir, '--database', ground.database, ...models])
  const kill = async (victim: Victim) => {
    if (victim !== 'database') return server.kill(victim)
    await ground.postgres?.kill()
    await ground.postgres?.restart()
  }
  try {
    const url = await server.start()
    const witness = new Witness(() => server.ready)
    const where = { url, fetch: witness.fetch }
    const tenants = [await newTenant(where, 'anna', OWN_MODEL, true)]
    for (const name of CROWD) tenants.push(await newTenant(where, name, SHARED_MODEL, false))
    const life = await lived(tenants, rounds, (round) => disturb(kill, round))
    const before = await Promise.all(tenants.map((tenant) => tenant.save('before')))
    await disturb(kill, rounds)
    const after = await Promise.all(tenants.map((tenant) => tenant.save('after')))
    await Promise.all(tenants.map((tenant) => tenant.close()))
    await witness.ask(url)
    await server.stop()
    const files = await filesOf(ground, [...before, ...after])
    const changed = before.filter((path, i) => files.get(path) !== files.get(after[i] as string))
    const autopsies = changed.map((path) => autopsy(path, ground, server))
    return {
      acknowledged: witness.acknowledged,
      resent: witness.resent,
      broken: [...witness.broken, ...(await placeless(ground)), ...(await Promise.all(autopsies))],
      life: { ...life, files: files.get(before[0] as string) ?? 'none' },
    }
  } catch (cause) {
    throw new Error(`a life was broken off: ${(cause as Error).message}; the server said: ${server.words}`, { cause })
  } finally {
    await server.destroy()
  }
}

export async function lived(tenants: readonly Tenant[], rounds: number, disturb: (round: number) => Promise<void>) {
  const accounts = new Map<string, Account[]>(tenants.map(({ name }) => [name, []]))
  const start = performance.now()
  for (let round = 0; round < rounds; round++) {
    const disturbed = disturb(round)
    const told = await Promise.all(tenants.map((tenant) => tenant.round(round)))
    for (const [i, { name }] of tenants.entries()) accounts.get(name)?.push(told[i] as Account)
    await disturbed
  }
  const roundMs = (performance.now() - start) / rounds
  const looks = new Map<string, number[]>()
  for (const tenant of tenants) looks.set(tenant.name, await tenant.look())
  return { accounts, looks, roundMs }
}

/** An adapter that has other bits than before: what it was brought back from, as far as can be told now. */
async function autopsy(path: string, ground: Ground, server: MortalServer): Promise<string> {
  const run = path.slice('tinker://'.length).split('/')[0] as string
  const said = server.said(run)
  return `${path} was not brought back with the same bits: it comes ${await replayOf(ground, run)}; ${said.join('; ') || 'it never came back'}`
}

/** Names and hashes of the files of each checkpoint, by path. */
async function filesOf(place: DatabasePlace, paths: readonly string[]): Promise<Map<string, string>> {
  const db = await openDatabase(place)
  const rows = await db.selectFrom('checkpoints').select(['run', 'kind', 'name', 'files']).execute()
  await db.destroy()
  const files = new Map(rows.map(({ run, kind, name, files }) => [`tinker://${run}/${kind}/${name}`, files]))
  return new Map(paths.map((path) => [path, files.get(path) ?? `${path} is missing`]))
}

export function deviation(a: readonly number[] = [], b: readonly number[] = []): number {
  if (a.length !== b.length || a.length === 0) return Number.POSITIVE_INFINITY
  return Math.max(...a.map((value, i) => Math.abs(value - (b[i] as number))))
}

/** Mulberry32: the same kills for the same seed. */
export function randomFrom(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = Math.imul(state ^ (state >>> 15), state | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
}
