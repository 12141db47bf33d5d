// What the engine does with the embedded model and with the tiny Qwen3 of the goldens: a real server as built, driven through
// the HTTP API by the TypeScript client.

import { ServiceClient } from '../../src/client/tinker/index.ts'
import type { ServerProcess } from '../demo/server-process.ts'
import { Figures } from './measure.ts'
import { addMicroBatch } from './micro-batch.ts'
import { memory, withServer } from './server.ts'
import { firstPass, newAdapter, overhead, samplingRate, trainingRate } from './workload.ts'

const STARTS = 5
const ROUNDS = 5
const OPERATIONS = 200
const TRAIN_STEPS = 10
const QWEN3 = 'src/backends/transformers/goldens/qwen3-tied/checkpoint'
const MODELS = [
  { name: 'twinkle/tiny', folder: 'models/tiny', args: [] as string[] },
  { name: 'golden/qwen3', folder: QWEN3, args: ['--model', `golden/qwen3=${QWEN3}`] },
]

function addMemory(figures: Figures, server: ServerProcess, when: string): void {
  const used = memory(server)
  if (!used) return
  figures.add(`resident memory, API, ${when}`, 'MB', used.api)
  figures.add(`resident memory, engine, ${when}`, 'MB', used.engines)
}

async function starts(figures: Figures, args: readonly string[], model: string): Promise<void> {
  for (let i = 0; i < STARTS; i++) {
    await withServer(args, async (server) => {
      figures.add('start to ready', 'ms', server.readyMs)
      addMemory(figures, server, 'ready')
      const service = new ServiceClient({ baseUrl: server.url, apiKey: 'tml-bench' })
      const training = await newAdapter(service, model, i)
      figures.add('first forward_backward (8 x 64 tokens)', 'ms', await firstPass(training))
      await training.optimStep()
      await service.close()
    })
  }
}

async function steady(figures: Figures, args: readonly string[], model: string): Promise<void> {
  await withServer(args, async (server) => {
    const service = new ServiceClient({ baseUrl: server.url, apiKey: 'tml-bench' })
    const adapters = await Promise.all(Array.from({ length: 7 }, (_, i) => newAdapter(service, model, i)))
    const [first] = adapters
    if (!first) return
    for (let i = 0; i < OPERATIONS; i++)
      figures.add('operation without compute (optim_step)', 'ms', await overhead(first))
    const sampler = await first.saveWeightsAndGetSamplingClient()
    for (let round = -1; round < ROUNDS; round++) {
      const one = await trainingRate([first], TRAIN_STEPS)
      const seven = await trainingRate(adapters, TRAIN_STEPS)
      const alone = await samplingRate(sampler, 1, round + 2)
      const crowd = await samplingRate(sampler, 32, round + 2)
      if (round < 0) continue
      figures.add('training, 1 adapter, 8 x 64', 'tokens/s', one)
      figures.add('training, 7 adapters, 8 x 64 each', 'tokens/s', seven)
      figures.add('ratio of the two', 'x', seven / one)
      figures.add('sampling, 1 client', 'tokens/s', alone)
      figures.add('sampling, 32 clients', 'tokens/s', crowd)
      figures.add('ratio of the two samplings', 'x', crowd / alone)
    }
    addMemory(figures, server, 'after all of this')
    await service.close()
  })
}

export async function benchEngine(print: (text: string) => void): Promise<void> {
  for (const { name, folder, args } of MODELS) {
    const figures = new Figures()
    await starts(figures, args, name)
    await addMicroBatch(figures, name, folder)
    await steady(figures, args, name)
    print(`${name}\n\n${figures.table()}`)
  }
}
