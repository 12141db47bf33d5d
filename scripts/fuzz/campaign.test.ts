// The short campaign; `npm run fuzz` runs longer ones.

import { expect, it } from 'vitest'
import { runCampaign } from './campaign.ts'
import { readTargets } from './documents.ts'

it('a server that is sent hostile requests to every operation keeps answering, without an error of its own', async () => {
  const { sent, statuses, findings } = await runCampaign({ requests: 400, seed: 7 })
  expect(findings).toEqual([])
  expect(sent).toBe(400)
  // Neither all refused at the door nor all let through: the requests reach what they are meant for.
  expect(statuses[200]).toBeGreaterThan(40)
  expect(statuses[400]).toBeGreaterThan(40)
}, 120_000)

it('every operation of the documents is a target', () => {
  const ids = readTargets().map(({ id }) => id)
  for (const id of ['createModel', 'asample', 'forwardBackward', 'getTrainingRun', 'metrics']) expect(ids).toContain(id)
})
