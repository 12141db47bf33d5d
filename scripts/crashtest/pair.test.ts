// The crash test of two servers on one database: each mishap once, in the middle of the work of four clients whose every
// request goes to the other server.

import { platform } from 'node:process'
import { expect, it } from 'vitest'
import { canStartPostgres } from '../../src/server/store/testing/postgres-server.ts'
import { MISHAPS, runPairTrial } from './pair-trial.ts'
import { CROWD_BOUND } from './trial.ts'

it.runIf(platform === 'linux' && canStartPostgres())(
  'two servers on one database keep every promise, whichever of them is killed, paused or stopped',
  async () => {
    const verdict = await runPairTrial(MISHAPS, () => {})
    expect(verdict.broken).toEqual([])
    expect(verdict.acknowledged).toBeGreaterThan(100)
    expect(verdict.crowdDeviation).toBeLessThan(CROWD_BOUND)
    expect(Math.min(...verdict.passed)).toBeGreaterThan(50)
  },
  420_000,
)
