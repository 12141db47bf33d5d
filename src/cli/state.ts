// `twinkle state show`: what a state directory holds and how long it keeps what. It reads, also while a server runs.

import { loadConfig } from '../server/config.ts'
import { shownDatabase } from '../server/config-values.ts'
import { POLICY } from '../server/store/compaction.ts'
import type { DatabasePlace } from '../server/store/database.ts'
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
        policyMs: POLICY,
      })
    : stateText(config, facts)
  process.stdout.write(`${text}\n`)
}

export function stateText(place: DatabasePlace, facts: StateFacts): string {
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
    ['calls', `${hours(POLICY.payloads)} after their end, and as long as a replay needs them`],
    [
      'answers',
      `${hours(POLICY.deliveredAnswers)} after they were fetched, ${hours(POLICY.undeliveredAnswers)} otherwise`,
    ],
    ['rows of ended runs', hours(POLICY.rows)],
    ['usage by the hour', hours(POLICY.usage)],
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
const hours = (ms: number) => (ms < 48 * 3_600_000 ? `${ms / 3_600_000} h` : `${ms / 86_400_000} days`)
