// A server that is killed between any two calls of an update, by Twinkle's native client for TypeScript: the calls that were
// answered are done, once, and what follows gives the bits that it would have given.

import { createHash } from 'node:crypto'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { initTwinkleClient, MultiLoraTransformersModel, type TwinkleClient } from '../../src/client/twinkle/index.ts'
import { type ServerProcess, startServerProcess } from './server-process.ts'

const MODEL = 'twinkle/tiny'
const KEY = 'tml-killed'
const UPDATES = 3

/** Labels are shifted. Rows of unequal length: an update is a mean over the tokens of both its passes. */
const row = (seed: number) => {
  const tokens = Array.from({ length: 8 + seed * 3 }, (_, i) => 100 + ((seed * 31 + i * 37) % 150))
  return { input_ids: tokens.slice(0, -1), labels: tokens.slice(1) }
}

type Model = MultiLoraTransformersModel

/** One training, call by call; each call is answered before the next one. */
const calls: readonly ((model: Model) => Promise<unknown>)[] = [
  (model) => model.setLoss('CrossEntropyLoss'),
  (model) => model.setOptimizer('AdamW', { lr: 1e-2 }),
  (model) => model.setLrScheduler('StepLR', { step_size: 1, gamma: 0.5 }),
  ...Array.from({ length: UPDATES }, (_, update) => [
    (model: Model) => model.forwardBackward([row(update), row(update + 1)]),
    (model: Model) => model.forwardBackward([row(update + 2)]),
    (model: Model) => model.clipGradNorm(0.5),
    (model: Model) => model.step(),
    (model: Model) => model.zeroGrad(),
    (model: Model) => model.lrStep(),
  ]).flat(),
]
/** Of the update in the middle: between its passes, before the clipping, before the step, before what follows it. */
const KILLS = [1, 2, 3, 4, 5].map((call) => 3 + 6 + call)

let server: ServerProcess
let client: TwinkleClient
beforeAll(async () => {
  server = await startServerProcess({ keys: [KEY] })
  client = initTwinkleClient({ baseUrl: server.url, apiKey: KEY })
})
afterAll(async () => {
  client.close()
  await server.stop()
})

async function adapter(name: string): Promise<Model> {
  const model = new MultiLoraTransformersModel(MODEL)
  await model.addAdapterToModel(name, { r: 8, target_modules: 'all-linear' }, { gradientAccumulationSteps: 2 })
  return model
}

/** The client knows one address: the server comes back at it. */
async function killAndRestart(): Promise<void> {
  await server.kill()
  const flags = ['--port', new URL(server.url).port]
  server = await startServerProcess({ keys: [KEY], stateDir: server.stateDir, flags })
}

async function trained(model: Model, kills: readonly number[]) {
  const answers: unknown[] = []
  for (const [i, call] of calls.entries()) {
    if (kills.includes(i)) await killAndRestart()
    answers.push(await call(model))
  }
  const digest = createHash('sha256').update(JSON.stringify(await model.getStateDict()))
  return { answers, weights: digest.digest('hex'), configs: await model.getTrainConfigs() }
}

it('goes on with the same bits, wherever it was killed', { timeout: 300_000 }, async () => {
  const first = await adapter('whole')
  const { twinklePath: origin } = await first.save('origin')
  const whole = await trained(first, [])
  expect(whole.configs).toContain(`Steps: ${UPDATES}`)
  expect(whole.answers).toContainEqual(expect.stringMatching(/^\d\.\d{6}$/))

  const second = await adapter('killed')
  await second.load(origin)
  expect(await trained(second, KILLS)).toEqual(whole)
})
