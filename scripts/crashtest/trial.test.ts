// The short crash tests: a few rounds against a real server with the embedded model. `npm run crashtest` runs longer ones.

import { platform } from 'node:process'
import { expect, it } from 'vitest'
import { canStartPostgres } from '../../src/server/store/testing/postgres-server.ts'
import { CROWD_BOUND, runTrial } from './trial.ts'

// Engines are found in /proc.
const trials = [
  { rounds: 3, seed: 5, database: 'sqlite' },
  { rounds: 3, seed: 2, database: 'postgres' },
] as const
const runnable = trials.filter(({ database }) => database === 'sqlite' || canStartPostgres())

it.runIf(platform === 'linux').each(runnable)(
  'a server whose processes are killed in every round keeps every promise, on $database',
  async (trial) => {
    const verdict = await runTrial({ ...trial, log: () => {} })
    expect(verdict.broken).toEqual([])
    expect(verdict.acknowledged).toBeGreaterThan(100)
    expect(verdict.crowdDeviation).toBeLessThan(CROWD_BOUND)
    const { api, engine, both, database } = verdict.kills
    expect(api + engine + both + database).toBe(4)
    expect(database > 0).toBe(trial.database === 'postgres')
  },
  240_000,
)
