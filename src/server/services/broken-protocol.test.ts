// An engine that says what no engine says, seen from those whose work it had: services in front of fake engines at the
// other end of a socket.

import type { Socket } from 'node:net'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { type Backend, defineBackend, type TrainingItem } from '../../backends/backend.ts'
import { encodeFrame } from '../../backends/frames.ts'
import { connectEngine } from '../../backends/remote-engine.ts'
import { serveEngine } from '../../backends/serve-engine.ts'
import { FakeEngine } from '../../backends/testing/fake-engine.ts'
import { socketPair } from '../../backends/testing/socket-pair.ts'
import { House, pass } from './testing/house.ts'

/** Engines that were opened, with what they write to. */
let engines: { readonly fake: FakeEngine; readonly socket: Socket }[]
let house: House
let isPoison: (item: TrainingItem) => boolean

beforeEach(async () => {
  engines = []
  isPoison = () => false
  house = await House.open(backend)
})
afterEach(() => house.remove())

const backend: Backend = defineBackend({
  name: 'remote',
  open: async (model, options, signal) => {
    const [near, far] = await socketPair()
    const fake = new FakeEngine()
    engines.push({ fake, socket: far })
    babble(last())
    void serveEngine(far, async () => fake)
    return connectEngine(near, model, options, signal)
  },
})

const last = () => engines.at(-1) as (typeof engines)[number]

it.each([
  ['bytes that are no frame', Buffer.alloc(64, 0xff)],
  ['an answer to no call', encodeFrame({ id: 99, result: null })[0]!],
])('work of an engine that sends %s is done by its successor', async (_, bytes) => {
  const run = await house.newRun()
  const gate = last().fake.block('train')
  const trained = await house.services.training.train('anna', pass(run, 1))
  const sampled = last().fake.block('generate')
  const sampler = { sessionId: house.session, seqId: 0, baseModel: 'tiny' }
  const samplingSessionId = await house.services.sampling.open('anna', sampler)
  const drawn = await house.services.sampling.sample('anna', {
    ...{ samplingSessionId, seqId: '0', prompt: Int32Array.of(1, 2), samples: 1, maxTokens: 2, temperature: 1 },
    ...{ topK: 0, topP: 1, promptLogprobs: false, topkPromptLogprobs: 0, topkSampleLogprobs: 0 },
  })
  await Promise.all([gate.entered, sampled.entered])
  last().socket.write(bytes)
  expect(await house.end(trained.requestId)).toMatchObject({ state: 'done', type: 'training' })
  expect(await house.end(drawn.requestId)).toMatchObject({ state: 'done', type: 'sample' })
  expect(engines).toHaveLength(2)
})

it('an operation at which engine after engine breaks the protocol is given up, and the next one is done', async () => {
  const run = await house.newRun()
  isPoison = ({ datums }) => datums[0]?.tokens[0] === 1
  const poison = house.end(house.services.training.train('anna', pass(run, 1)))
  const next = house.end(house.services.training.train('anna', pass(run, 2)))
  expect(await poison).toMatchObject({ state: 'failed', error: { code: 'POISONOUS', category: 'server' } })
  expect(await next).toMatchObject({ state: 'done' })
  expect(engines).toHaveLength(4)
})

/** From now on it says nonsense at what is poison to it. */
function babble({ fake, socket }: (typeof engines)[number]): void {
  const train = fake.train.bind(fake)
  fake.train = (items, signal) => {
    if (items.some(isPoison)) socket.write(Buffer.alloc(64, 0xff))
    return train(items, signal)
  }
}
