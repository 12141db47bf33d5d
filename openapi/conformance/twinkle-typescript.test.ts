// The native TypeScript client against a real server, as a user has them.

import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import {
  AuthenticationError,
  DataLoader,
  Dataset,
  initTwinkleClient,
  MultiLoraTransformersModel,
  NotFoundError,
  type TwinkleClient,
  VllmSampler,
} from '../../src/client/twinkle/index.ts'
import { type ServerProcess, startServerProcess } from './server-process.ts'

const MODEL = 'ms://twinkle/tiny'
const KEY = 'tml-native'
/** Labels are shifted: what follows each token. */
const row = (seed: number) => {
  const tokens = Array.from({ length: 16 }, (_, i) => 100 + ((seed * 31 + i * 37) % 150))
  return { input_ids: tokens.slice(0, -1), labels: tokens.slice(1) }
}
const BATCH = [row(1), row(2)]

let server: ServerProcess
let client: TwinkleClient

beforeAll(async () => {
  server = await startServerProcess({ keys: [KEY] })
  client = initTwinkleClient({ baseUrl: `${server.url}/api/v1`, apiKey: KEY, sessionMetadata: { who: 'test' } })
})
afterAll(async () => {
  client.close()
  await server.stop()
})

async function trained(name: string): Promise<{ model: MultiLoraTransformersModel; losses: number[] }> {
  const model = new MultiLoraTransformersModel(MODEL)
  await model.addAdapterToModel(name, { r: 8, target_modules: 'all-linear' }, { gradientAccumulationSteps: 2 })
  await model.setLoss('CrossEntropyLoss')
  await model.setOptimizer('AdamW', { lr: 1e-2 })
  await model.setLrScheduler('LinearLR')
  const losses: number[] = []
  for (let batch = 0; batch < 6; batch++) {
    losses.push((await model.forwardBackward(BATCH)).loss ?? Number.NaN)
    await model.clipGradAndStep()
  }
  return { model, losses }
}

describe('the native TypeScript client', () => {
  it('trains an adapter: the loss falls, and its configurations tell of it', async () => {
    const { model, losses } = await trained('falls')
    expect(losses.at(-1)).toBeLessThan(losses[0] as number)
    expect(await model.getTrainConfigs()).toContain('AdamW')
    await expect(model.calculateLoss()).rejects.toThrow(/forward first/)
  })

  it('saves, lists, and resumes where it was', async () => {
    const { model } = await trained('resumes')
    const { twinklePath } = await model.save('here', { saveOptimizer: true, consumedTrainSamples: 12 })
    expect(twinklePath).toMatch(/^twinkle:\/\//)
    const { loss } = await model.forwardOnly(BATCH)
    await model.forwardBackward(BATCH)
    await model.clipGradAndStep()
    expect(await model.resumeFromCheckpoint(twinklePath)).toMatchObject({ curStep: 3, consumedTrainSamples: 12 })
    expect((await model.forwardOnly(BATCH)).loss).toBe(loss)
    const run = twinklePath.split('/')[2] as string
    expect(await client.getLatestCheckpointPath(run)).toBe(twinklePath)
    expect((await client.getWeightsInfo(twinklePath)).lora_rank).toBe(8)
    await client.deleteCheckpoint(run, 'weights/here')
    await expect(client.getCheckpointPath(run, 'weights/here')).rejects.toThrow(NotFoundError)
  })

  it('reports its metrics as they were added', async () => {
    const { model } = await trained('metrics')
    await model.addMetric('LossMetric', true)
    await model.forwardBackward(BATCH)
    const { loss } = await model.calculateMetric(true)
    expect(Number(loss)).toBeGreaterThan(0)
  })

  it('draws from the base model and from saved weights, whole and as a stream', async () => {
    const { model } = await trained('sampled')
    const { twinklePath } = await model.save('sampler', { isSampler: true })
    const sampler = new VllmSampler(MODEL)
    const prompt = { input_ids: BATCH[0]?.input_ids.slice(0, 4) }
    const params = { maxTokens: 8, temperature: 0 }
    const [base] = await sampler.sample(prompt, params)
    const [tuned] = await sampler.sample([prompt], params, { adapterUri: twinklePath })
    const tokensOf = (sample = base) => sample?.sequences[0]?.tokens
    expect(tokensOf()).toHaveLength(8)
    expect(tokensOf(tuned)).not.toEqual(tokensOf())
    const several = await sampler.sample(prompt, { ...params, temperature: 1, seed: 3 }, { numSamples: 3 })
    expect(several.flatMap(({ sequences }) => sequences)).toHaveLength(3)
    let text = ''
    let finish: string | null = null
    for await (const { delta, finishReason } of sampler.sampleStream(prompt, params)) {
      text += delta
      finish = finishReason ?? finish
    }
    expect(text).toBe(base?.sequences[0]?.decoded)
    expect(finish).toBe('length')
  })

  it('looks through all runs by pages', async () => {
    const ids: string[] = []
    for await (const run of client.trainingRuns({ limit: 1 })) ids.push(run.training_run_id)
    expect(ids.length).toBeGreaterThanOrEqual(2)
    expect(new Set(ids).size).toBe(ids.length)
    expect(await client.healthCheck()).toBe(true)
    expect((await client.getServerCapabilities()).supportedModels).toContain('twinkle/tiny')
  })

  it('is handed batches of a data set on the server, epoch after epoch', async () => {
    const dataset = new Dataset({ data: [row(1), row(2), row(3), row(4)] })
    expect(await dataset.size()).toBe(4)
    const loader = new DataLoader(dataset, { batchSize: 2 })
    for (let epoch = 0; epoch < 2; epoch++) {
      const batches = []
      for await (const batch of loader) batches.push(batch)
      expect(batches.map((batch) => batch.length)).toEqual([2, 2])
      expect(batches[0]?.[0]).toMatchObject({ input_ids: row(1).input_ids })
    }
  })

  it('is told why its key is none', async () => {
    const stranger = initTwinkleClient({ baseUrl: server.url, apiKey: 'wrong' })
    await expect(stranger.listTrainingRuns()).rejects.toThrow(AuthenticationError)
  })
})
