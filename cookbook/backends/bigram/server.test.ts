// A real server serves a model by the backend of this folder beside one by its own, and keeps its promises about it.

import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type ServerProcess, startServerProcess } from '../../../scripts/demo/server-process.ts'
import { ModelInput, ServiceClient, type TrainingClient } from '../../../src/client/tinker/index.ts'

const here = import.meta.dirname
let folder: string
let server: ServerProcess
const start = () => startServerProcess(['--config', join(folder, 'twinkle.yaml'), '--state-dir', join(folder, 'state')])
const client = () => new ServiceClient({ baseUrl: server.url, apiKey: 'tml-bigram' })

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'twinkle-bigram-'))
  execFileSync(process.execPath, [join(here, 'make-model.mjs'), join(folder, 'model')])
  const config = [
    `backends: [${JSON.stringify(join(here, 'backend.mjs'))}]`,
    'models:',
    `  twinkle/tiny: ${JSON.stringify(join(here, '../../../models/tiny'))}`,
    '  cookbook/bigram: { path: ./model, backend: bigram }',
  ]
  writeFileSync(join(folder, 'twinkle.yaml'), config.join('\n'))
  server = await start()
})
afterAll(async () => {
  await server.stop()
  rmSync(folder, { recursive: true })
})

async function text(training: TrainingClient) {
  const tokenizer = await training.getTokenizer()
  const tokens = tokenizer.encode('abcdefghijk')
  const lossFnInputs = { target_tokens: tokens.slice(1) }
  return { tokenizer, tokens, data: [{ modelInput: ModelInput.fromInts(tokens.slice(0, -1)), lossFnInputs }] }
}

async function learn(training: TrainingClient, steps: number): Promise<number[]> {
  const { data } = await text(training)
  const losses: number[] = []
  for (let i = 0; i < steps; i++) {
    const forwardBackward = training.forwardBackward(data, 'cross_entropy')
    const optimStep = training.optimStep({ learningRate: 0.03 })
    losses.push((await forwardBackward).metrics['loss:sum']!)
    await optimStep
  }
  return losses
}

describe('a server with the bigram backend', () => {
  it('trains and samples, and a killed one goes on where it was', { timeout: 120_000 }, async () => {
    const training = await client().createLoraTrainingClient({ baseModel: 'cookbook/bigram', rank: 8 })
    const losses = await learn(training, 20)
    expect(losses.at(-1)).toBeLessThan(losses[0]! / 4)
    const { tokenizer, tokens } = await text(training)
    const sampler = await training.saveWeightsAndGetSamplingClient()
    const prompt = ModelInput.fromInts(tokens.slice(0, 1))
    const { sequences } = await sampler.sample({ prompt, samplingParams: { maxTokens: 5, temperature: 0 } })
    expect(tokenizer.decode(sequences[0]!.tokens)).toBe('bcdef')
    const { path } = await training.saveState('half')
    const goneOn = await learn(training, 3)

    process.kill(server.pid, 'SIGKILL')
    await expect(server.stop()).rejects.toThrow('ended with code null')
    server = await start()
    const resumed = await client().createTrainingClientFromStateWithOptimizer(path)
    expect(await learn(resumed, 3)).toEqual(goneOn)
  })

  it('has each model beside the other, by its own backend', async () => {
    const training = await client().createLoraTrainingClient({ baseModel: 'twinkle/tiny', rank: 4 })
    const [first, second] = await learn(training, 2)
    expect(second).toBeLessThan(first!)
  })

  it('refuses what the backend does not have, by name', async () => {
    const service = client()
    const wanted = service.createLoraTrainingClient({ baseModel: 'cookbook/bigram', rank: 8, trainUnembed: false })
    await expect(wanted).rejects.toThrow(/train_unembed/)
  })
})
