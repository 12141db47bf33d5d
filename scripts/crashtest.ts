// `npm run crashtest -- --rounds N [--seed S] [--trials T] [--database postgres] [--kill engine,database] [--servers 2]`: kills a
// real server, its engines, or both (or the PostgreSQL server), in every round and in the middle of the work of several
// clients, and says whether every promise was kept. --kill names what is killed, instead of all that there is; --trials goes on
// with the next seeds. Of two servers on one PostgreSQL database, one is killed, paused or stopped. Ends with code 1 when a
// promise was not kept.

import { parseArgs } from 'node:util'
import { MISHAPS, type PairVerdict, runPairTrial } from './crashtest/pair-trial.ts'
import {
  CROWD_BOUND,
  randomFrom,
  runTrial,
  undisturbed,
  type Verdict,
  type Victim,
  victimsOn,
} from './crashtest/trial.ts'

const text = { type: 'string' } as const
const { values } = parseArgs({
  options: { rounds: text, seed: text, database: text, kill: text, trials: text, servers: text },
})
const rounds = whole('rounds', values.rounds ?? '10')
const seed = whole('seed', values.seed ?? '1')
const log = (line: string) => console.log(line)
process.exitCode = (await (values.servers === undefined ? one() : pair(values.servers))) ? 0 : 1

/** True when every promise was kept. Trials of several seeds are compared with one undisturbed run. */
async function one(): Promise<boolean> {
  const database = kind(values.database ?? 'sqlite')
  const victims = values.kill === undefined ? victimsOn(database) : chosen(values.kill, victimsOn(database))
  const trials = whole('trials', values.trials ?? '1')
  const calm = await undisturbed({ rounds, database, log })
  let isKept = true
  for (let own = seed; own < seed + trials; own++) {
    const verdict = await runTrial({ rounds, seed: own, database, victims, log }, calm)
    const { kills } = verdict
    const killed =
      `killed: API ${kills.api}, engines ${kills.engine}, both ${kills.both}` +
      (database === 'postgres' ? `, PostgreSQL ${kills.database}` : '')
    isKept = told(`${rounds} rounds with seed ${own} on ${database}; ${killed}`, verdict) && isKept
  }
  return isKept
}

async function pair(servers: string): Promise<boolean> {
  if (servers !== '2' || (values.database ?? 'postgres') !== 'postgres') {
    console.error('Error: --servers is 2, and they share a PostgreSQL database, which this program starts.')
    process.exit(2)
  }
  const random = randomFrom(seed)
  const mishaps = Array.from({ length: rounds }, () => MISHAPS[Math.floor(random() * MISHAPS.length)] ?? MISHAPS[0])
  const verdict = await runPairTrial(mishaps, log)
  return told(
    `${rounds} rounds with seed ${seed} of two servers; they got ${verdict.passed.join(' and ')} requests`,
    verdict,
  )
}

function told(first: string, { acknowledged, resent, crowdDeviation, broken }: Verdict | PairVerdict): boolean {
  const lines = [
    '',
    first,
    `${acknowledged} requests acknowledged, all asked for again at the end; ${resent} exchanges died and were sent again`,
    `tenants in a crowd: at most ${crowdDeviation.toExponential(2)} nats from an undisturbed run (bound ${CROWD_BOUND})`,
    ...broken.map((sentence) => `BROKEN: ${sentence}`),
    broken.length === 0 ? 'Verdict: every promise was kept.' : `Verdict: ${broken.length} promises were broken.`,
  ]
  console.log(lines.join('\n'))
  return broken.length === 0
}

function whole(name: string, value: string): number {
  const number = Number(value)
  if (Number.isInteger(number) && number > 0) return number
  console.error(`Error: --${name} is a whole number from 1, not ${value}.`)
  process.exit(2)
}

function chosen(value: string, there: readonly Victim[]): Victim[] {
  const names = value.split(',')
  const victims = there.filter((victim) => names.includes(victim))
  if (victims.length === names.length) return victims
  console.error(`Error: --kill names some of ${there.join(', ')}, separated by commas, not ${value}.`)
  process.exit(2)
}

function kind(value: string): 'sqlite' | 'postgres' {
  if (value === 'sqlite' || value === 'postgres') return value
  console.error(`Error: --database is sqlite or postgres, not ${value}.`)
  process.exit(2)
}
