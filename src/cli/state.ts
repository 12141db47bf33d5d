// `twinkle state show`: what a state directory holds and how long it keeps what. It reads, also while a server runs.

import { loadConfig } from '../server/config.ts'
import { shownDatabase } from '../server/config-values.ts'
import type { DatabasePlace } from '../server/store/database.ts'
import type { Policy } from '../server/store/policy.ts'
import { type StateFacts, stateFacts } from '../server/store/state-facts.ts'
import type { ServeFlags } from './serve.ts'
import { table } from './table.ts'

export interface StateOptions extends ServeFlags {
  readonly json?: boolean
}

export async function showState({ json, config: file, ...flags }: StateOptions): Promise<void> {
  const { config } = await loadConfig({ flags, env: process.env, ...(file === undefined ? {} : { file }) })
  const facts = await stateFacts(config)
  const text = json
    ? JSON.stringify({
        stateDir: config.stateDir,
        database: shownDatabase(config.database),
        ...facts,
        policyMs: config.keep,
      })
    : stateText(config, facts, config.keep)
  process.stdout.write(`${text}\n`)
}

export function stateText(place: DatabasePlace, facts: StateFacts, policy: Policy): string {
  const { operations, runs, bytes } = facts
  const holds = [
    ['operations', counted(operations)],
    ['runs', counted(runs)],
    ['checkpoints', String(facts.checkpoints)],
    [
      'restart points',
      `${facts.restartPoints}; after them ${facts.toRepeat} operations, repeated when they are needed`,
    ],
    ['database', `${mebibytes(bytes.database)} (${shownDatabase(place.database)})`],
    ['large calls and answers', mebibytes(bytes.blobs)],
    ['adapters on disk', mebibytes(bytes.adapters)],
  ]
  const keeps = [
    ['calls', `${hours(policy.calls)} after their end, and as long as a replay needs them`],
    ['answers', `${hours(policy.answers)} after they were fetched, ${hours(policy.unfetchedAnswers)} otherwise`],
    ['rows of samples, of ended runs, and before a restart point', hours(policy.rows)],
    ['usage by the hour', hours(policy.usage)],
  ]
  return [table([place.stateDir, 'HOLDS'], holds), '', table(['KEPT', 'FOR'], keeps)].join('\n')
}

function counted(byState: Readonly<Record<string, number>>): string {
  return (
    Object.entries(byState)
      .map(([state, count]) => `${count} ${state}`)
      .join(', ') || 'none'
  )
}

const mebibytes = (bytes: number) => `${(bytes / 2 ** 20).toFixed(1)} MiB`
const hours = (ms: number) =>
  ms < 3_600_000 ? `${ms / 60_000} min` : ms < 48 * 3_600_000 ? `${ms / 3_600_000} h` : `${ms / 86_400_000} days`
