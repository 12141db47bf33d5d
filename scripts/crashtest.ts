// `npm run crashtest -- --rounds N [--seed S] [--database postgres]`: kills a real server, its engines, or both (or the
// PostgreSQL server), in every round and in the middle of the work of several clients, and says whether every promise was
// kept. Ends with code 1 when one was not.

import { parseArgs } from 'node:util'
import { CROWD_BOUND, runTrial, type Verdict } from './crashtest/trial.ts'

const text = { type: 'string' } as const
const { values } = parseArgs({ options: { rounds: text, seed: text, database: text } })
const rounds = whole('rounds', values.rounds ?? '10')
const seed = whole('seed', values.seed ?? '1')
const database = kind(values.database ?? 'sqlite')
const verdict = await runTrial({ rounds, seed, database, log: (line) => console.log(line) })
console.log(report(verdict))
process.exitCode = verdict.broken.length === 0 ? 0 : 1

function report({ acknowledged, kills, resent, crowdDeviation, broken }: Verdict): string {
  const lines = [
    '',
    `${rounds} rounds with seed ${seed} on ${database}; killed: API ${kills.api}, engines ${kills.engine}, both ${kills.both}` +
      (database === 'postgres' ? `, PostgreSQL ${kills.database}` : ''),
    `${acknowledged} requests acknowledged, all asked for again at the end; ${resent} exchanges died and were sent again`,
    `tenants in a crowd: at most ${crowdDeviation.toExponential(2)} nats from an undisturbed run (bound ${CROWD_BOUND})`,
    ...broken.map((sentence) => `BROKEN: ${sentence}`),
    broken.length === 0 ? 'Verdict: every promise was kept.' : `Verdict: ${broken.length} promises were broken.`,
  ]
  return lines.join('\n')
}

function whole(name: string, value: string): number {
  const number = Number(value)
  if (Number.isInteger(number) && number > 0) return number
  console.error(`Error: --${name} is a whole number from 1, not ${value}.`)
  process.exit(2)
}

function kind(value: string): 'sqlite' | 'postgres' {
  if (value === 'sqlite' || value === 'postgres') return value
  console.error(`Error: --database is sqlite or postgres, not ${value}.`)
  process.exit(2)
}
