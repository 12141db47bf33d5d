// The short crash test: three rounds against a real server with the embedded model. `npm run crashtest` runs longer ones.

import { platform } from 'node:process'
import { expect, it } from 'vitest'
import { CROWD_BOUND, runTrial } from './trial.ts'

// Engines are found in /proc.
it.runIf(platform === 'linux')(
  'a server whose processes are killed in every round keeps every promise',
  async () => {
    const verdict = await runTrial({ rounds: 3, seed: 5, log: () => {} })
    expect(verdict.broken).toEqual([])
    expect(verdict.acknowledged).toBeGreaterThan(100)
    expect(verdict.crowdDeviation).toBeLessThan(CROWD_BOUND)
    const { api, engine, both } = verdict.kills
    expect(api + engine + both).toBe(4)
  },
  240_000,
)
