// The services on a real database with a fake engine: what a submission promises, whoever asks and however it arrives.

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pino } from 'pino'
import sinon from 'sinon'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import type { TrainingDatum, TrainingItem } from '../../backends/backend.ts'
import { type FakeBackend, fakeBackend } from '../../backends/testing/fake-backend.ts'
import { resolveCatalogueLoss } from '../../catalogue/losses/catalogue.ts'
import type { SampleCall, TrainingCall } from '../calls.ts'
import { loadConfig } from '../config.ts'
import { Journal } from '../store/journal.ts'
import { newDatabase, type TestDatabase } from '../store/testing/databases.ts'
import { decodeSampleReply, decodeTrainingReply } from '../wire/reply.ts'
import { openServices, type Services } from './services.ts'

const CHECKPOINT = join(import.meta.dirname, '../../backends/transformers/goldens/llama-tied/checkpoint')
const HOLD = 20_000
const never = new AbortController().signal
const silent = pino({ level: 'silent' })

let stateDir: string
let database: TestDatabase
let backend: FakeBackend
let services: Services
let session: string

beforeEach(async () => {
  stateDir = mkdtempSync(join(tmpdir(), 'twinkle-services-'))
  database = await newDatabase()
  await start()
  session = await newSession('anna')
})
afterEach(async () => {
  await services.close()
  await database.remove()
  rmSync(stateDir, { recursive: true })
})

async function start() {
  const { config } = await loadConfig({ flags: { stateDir, database: database.url, models: [`tiny=${CHECKPOINT}`] } })
  backend = fakeBackend()
  const models = config.models.filter((m) => m.name === 'tiny')
  services = await openServices({ ...config, models }, () => backend, silent)
}
const engine = () => backend.engines.at(-1) as FakeBackend['engines'][number]

const newSession = (tenant: string) =>
  services.sessions.create(tenant, { tags: [], userMetadata: {}, sdkVersion: null, projectId: null, displayName: null })

async function outcome(tenant: string, id: string) {
  const future = await services.futures.retrieve(tenant, id, HOLD, never)
  if (future.state === 'done' && future.type === 'json') return JSON.parse(new TextDecoder().decode(future.bytes))
  if (future.state === 'done' && future.type === 'training') return decodeTrainingReply(future.bytes)
  if (future.state === 'done' && future.type === 'sample') return decodeSampleReply(future.bytes)
  return future
}

const newRun = (modelSeqId = 0) => ({
  sessionId: session,
  modelSeqId,
  baseModel: 'tiny',
  rank: 4,
  trainAttention: true,
  trainMlp: true,
  trainUnembed: true,
  userMetadata: {},
})
async function createModel(tenant = 'anna', modelSeqId = 0) {
  const { requestId, modelId } = await services.training.createModel(tenant, newRun(modelSeqId))
  await outcome(tenant, requestId)
  return modelId
}

const datum = (...tokens: number[]): TrainingDatum => ({
  tokens: Int32Array.from(tokens),
  targets: Int32Array.from(tokens, (t) => t + 1),
  width: 1,
})
const pass = (modelId: string, seqId: number, changes: Partial<TrainingCall> = {}): TrainingCall => ({
  modelId,
  seqId,
  forwardOnly: false,
  lossName: 'cross_entropy',
  lossConfig: {},
  datums: [datum(1, 2, 3)],
  matrix: [false],
  ...changes,
})
const ADAMW = {
  rule: 'adamw',
  learningRate: 0.1,
  beta1: 0.9,
  beta2: 0.95,
  epsilon: 1e-12,
  weightDecay: 0,
  clipNorm: 0,
} as const
const sample = (changes: Partial<SampleCall> = {}): SampleCall => ({
  prompt: Int32Array.of(1, 2, 3),
  samples: 2,
  maxTokens: 4,
  temperature: 1,
  topK: 0,
  topP: 1,
  promptLogprobs: false,
  topkPromptLogprobs: 0,
  topkSampleLogprobs: 0,
  ...changes,
})
const weights = (name: string, overwrite = false) => ({
  kind: 'weights' as const,
  name,
  overwrite,
  ttlSeconds: null,
  userMetadata: {},
  hasOptimizer: true,
})
const trainCalls = () => engine().calls.filter((c) => c.op === 'train' || c.op === 'optimStep')

describe('training', () => {
  it('answers a submission before it is carried out, and the future afterwards', async () => {
    const model = await createModel()
    const gate = engine().block('train')
    const { requestId } = await services.training.train('anna', pass(model, 1))
    await gate.entered
    expect(await services.futures.retrieve('anna', requestId, 1, never)).toEqual({ state: 'pending' })
    const waiting = outcome('anna', requestId)
    gate.open()
    const reply = await waiting
    expect(reply.logprobs[0].values).toHaveLength(3)
    const sum = reply.logprobs[0].values.reduce((a: number, b: number) => a + b, 0)
    expect(reply.metrics['loss:sum']).toBeCloseTo(-sum, 5)
  })

  it('computes losses of the catalogue for calls of that family alone, and those that the engine can', async () => {
    const model = await createModel()
    const masked = { ...datum(1, 2, 3), mask: Float32Array.of(0, 1, 1) }
    const native = (seqId: number, name: string, kwargs = {}) => {
      const { name: lossName, config: lossConfig } = resolveCatalogueLoss(name, kwargs)
      return pass(model, seqId, { family: 'twinkle', lossName, lossConfig, datums: [masked] })
    }
    const { requestId } = await services.training.train('anna', native(1, 'CrossEntropyLoss'))
    const reply = await outcome('anna', requestId)
    const [, second, third] = reply.logprobs[0].values
    expect(reply.metrics['loss:sum']).toBeCloseTo(-(second + third) / 2, 5)
    const refused = (call: TrainingCall, code: string) =>
      expect(services.training.train('anna', call)).rejects.toMatchObject({ code })
    await refused(native(2, 'SimPOLoss'), 'UNSUPPORTED_BY_ENGINE')
    await refused(pass(model, 3, { lossName: 'CrossEntropyLoss' }), 'UNSUPPORTED_LOSS')
    await refused({ ...native(4, 'GRPOLoss'), datums: [masked] }, 'INVALID_INPUT')
  })

  it('carries out chunks that arrive as 2, 3, 1 in the order 1, 2, 3', async () => {
    const model = await createModel()
    const two = await services.training.train('anna', pass(model, 2, { datums: [datum(2)] }))
    const three = await services.training.optimStep('anna', model, 3, ADAMW)
    expect(trainCalls()).toEqual([])
    await services.training.train('anna', pass(model, 1, { datums: [datum(1)] }))
    await outcome('anna', three.requestId)
    await outcome('anna', two.requestId)
    expect(trainCalls().map((c) => c.op)).toEqual(['train', 'train', 'optimStep'])
    const items = trainCalls().map((c) => c.arg as TrainingItem)
    expect(items.map((i) => i.datums?.[0]?.tokens[0])).toEqual([1, 2, undefined])
  })

  it('has passes of different tenants with the engine at once, each on behalf of its own', async () => {
    const mine = await createModel('anna')
    const own = session
    session = await newSession('bert')
    const theirs = await createModel('bert')
    session = own
    const train = sinon.spy(engine(), 'train')
    const gate = engine().block('train')
    const first = await services.training.train('anna', pass(mine, 1))
    await gate.entered
    const second = await services.training.train('anna', pass(mine, 2))
    const third = await services.training.train('bert', pass(theirs, 1))
    await vi.waitFor(() => expect(train.args).toHaveLength(2))
    gate.open()
    await Promise.all([
      outcome('anna', first.requestId),
      outcome('anna', second.requestId),
      outcome('bert', third.requestId),
    ])
    expect(train.args.map(([items]) => items.map((i) => [i.adapter, i.share]))).toEqual([
      [[mine, { party: 'anna', weight: 1 }]],
      [[theirs, { party: 'bert', weight: 1 }]],
      [[mine, { party: 'anna', weight: 1 }]],
    ])
  })

  it('gives a resent request the first one’s id and computes it once', async () => {
    const model = await createModel()
    const first = await services.training.train('anna', pass(model, 1))
    const again = await services.training.train('anna', pass(model, 1))
    expect(again.requestId).toBe(first.requestId)
    await outcome('anna', first.requestId)
    expect(trainCalls()).toHaveLength(1)
  })

  it('does not make later requests wait for one that was refused', async () => {
    const model = await createModel()
    const bad = pass(model, 1, { lossName: 'nonsense' })
    await expect(services.training.train('anna', bad)).rejects.toThrow(/cross_entropy/)
    const good = await services.training.train('anna', pass(model, 2))
    expect((await outcome('anna', good.requestId)).metrics).toBeDefined()
  })

  it('refuses a loss that the engine of this model lacks, naming those it has', async () => {
    const model = await createModel()
    Object.assign(engine(), { info: { ...engine().info, losses: ['cross_entropy'] } })
    const bad = pass(model, 1, { lossName: 'importance_sampling' })
    await expect(services.training.train('anna', bad)).rejects.toThrow(/cross_entropy/)
    const good = await services.training.train('anna', pass(model, 2))
    expect((await outcome('anna', good.requestId)).metrics).toBeDefined()
  })

  it('refuses a conflicting resend without blocking the next number', async () => {
    const model = await createModel()
    await services.training.train('anna', pass(model, 1))
    const other = pass(model, 1, { datums: [datum(7)] })
    await expect(services.training.train('anna', other)).rejects.toMatchObject({ code: 'SEQ_CONFLICT' })
    const next = await services.training.train('anna', pass(model, 2))
    expect((await outcome('anna', next.requestId)).metrics).toBeDefined()
  })

  it.each([0, 65, 1.5])('refuses rank %s at once, naming the limits', async (rank) => {
    const creating = services.training.createModel('anna', { ...newRun(), rank })
    await expect(creating).rejects.toMatchObject({ code: 'INVALID_RANK', status: 400 })
    await expect(creating).rejects.toThrow(/1 to 64/)
  })

  it('names the models there are when one is not', async () => {
    const creating = services.training.createModel('anna', { ...newRun(), baseModel: 'tinny' })
    await expect(creating).rejects.toThrow(/Did you mean "tiny"/)
  })

  it('keeps another tenant out of a run, its futures and its checkpoints', async () => {
    const model = await createModel()
    const { requestId } = await services.training.saveWeights('anna', model, 1, weights('a'))
    await outcome('anna', requestId)
    await expect(services.training.train('eve', pass(model, 2))).rejects.toMatchObject({ code: 'UNKNOWN_MODEL_ID' })
    await expect(outcome('eve', requestId)).rejects.toMatchObject({ code: 'UNKNOWN_FUTURE' })
    const found = services.checkpoints.find('eve', `tinker://${model}/weights/a`)
    await expect(found).rejects.toMatchObject({ code: 'CHECKPOINT_NOT_FOUND' })
  })
})

describe('checkpoints', () => {
  it('reports a taken name through the future, and replaces it only when asked', async () => {
    const model = await createModel()
    const save = async (seq: number, overwrite: boolean) =>
      outcome('anna', (await services.training.saveWeights('anna', model, seq, weights('a', overwrite))).requestId)
    expect(await save(1, false)).toEqual({ path: `tinker://${model}/weights/a`, type: 'save_weights' })
    expect(await save(2, false)).toMatchObject({
      state: 'failed',
      error: { code: 'CHECKPOINT_EXISTS', category: 'user' },
    })
    expect(await save(3, true)).toMatchObject({ path: `tinker://${model}/weights/a` })
  })

  it.each(['../x', 'a/b', '', '.hidden', 'x'.repeat(200)])('refuses the name %j', async (name) => {
    const model = await createModel()
    const saving = services.training.saveWeights('anna', model, 1, weights(name))
    await expect(saving).rejects.toMatchObject({ code: 'INVALID_CHECKPOINT_NAME' })
  })

  it('resumes a run with its optimiser after a restart as if nothing had happened', async () => {
    const model = await createModel()
    const step = async (id: string, seq: number) => {
      await services.training.train('anna', pass(id, seq))
      const { requestId } = await services.training.optimStep('anna', id, seq + 1, ADAMW)
      await outcome('anna', requestId)
    }
    const logprobs = async (id: string, seq: number) =>
      (await outcome('anna', (await services.training.train('anna', pass(id, seq, { forwardOnly: true }))).requestId))
        .logprobs[0].values
    await step(model, 1)
    await outcome('anna', (await services.training.saveWeights('anna', model, 3, weights('a'))).requestId)
    await step(model, 4)
    const uninterrupted = await logprobs(model, 6)

    await services.close()
    await start()
    const resumed = await services.training.resume('anna', {
      sessionId: session,
      modelSeqId: 1,
      path: `tinker://${model}/weights/a`,
      optimizer: true,
      userMetadata: {},
    })
    expect(resumed.modelId).toBe(`${session}:train:1`)
    await step(resumed.modelId, 1)
    expect(await logprobs(resumed.modelId, 3)).toEqual(uninterrupted)
  })
})

describe('sampling', () => {
  it('draws from weights frozen at the save, also by a sampler that was there before a restart', async () => {
    const model = await createModel()
    const { requestId } = await services.training.saveForSampler('anna', {
      modelId: model,
      seqId: 1,
      samplingSessionSeqId: 0,
      ttlSeconds: null,
      userMetadata: {},
    })
    const { sampling_session_id: sampler } = await outcome('anna', requestId)
    expect(sampler).toBe(`${session}:sample:0`)
    const draw = async (seqId: string) => {
      const { requestId, sequenceIds } = await services.sampling.sample(
        'anna',
        sample({ samplingSessionId: sampler, seqId, seed: '7' }),
      )
      expect(sequenceIds).toHaveLength(2)
      return (await outcome('anna', requestId)).sequences.map((s: { tokens: Int32Array }) => [...s.tokens])
    }
    const before = await draw('0')
    await services.training.train('anna', pass(model, 2))
    await outcome('anna', (await services.training.optimStep('anna', model, 3, ADAMW)).requestId)
    expect(await draw('1')).toEqual(before)
    await services.close()
    await start()
    expect(await draw('2')).toEqual(before)
  })

  it('gives a resent sample the same request and sequence ids, though the server drew the seed', async () => {
    const sampler = await services.sampling.open('anna', { sessionId: session, seqId: 0, baseModel: 'tiny' })
    const call = sample({ samplingSessionId: sampler, seqId: '189992462000000000' })
    const first = await services.sampling.sample('anna', call)
    expect(await services.sampling.sample('anna', call)).toEqual(first)
    expect(first.sequenceIds).toEqual([`${sampler}:189992462000000000:0`, `${sampler}:189992462000000000:1`])
  })

  it('goes on from a checkpoint that was replaced under its name, and the new one is there for others', async () => {
    const model = await createModel()
    const save = async (seq: number) =>
      outcome('anna', (await services.training.saveWeights('anna', model, seq, weights('a', true))).requestId)
    const { path } = await save(1)
    const sampler = await services.sampling.open('anna', { sessionId: session, seqId: 0, modelPath: path })
    await save(2)
    const call = sample({ samplingSessionId: sampler, seqId: '0', seed: '1' })
    const { requestId } = await services.sampling.sample('anna', call)
    expect((await outcome('anna', requestId)).sequences).toHaveLength(2)
  })

  it('says which checkpoint has damaged files, and not where they are', async () => {
    const model = await createModel()
    const { requestId } = await services.training.saveWeights('anna', model, 1, weights('a'))
    const { path } = await outcome('anna', requestId)
    const { folder } = await services.checkpoints.find('anna', path)
    rmSync(join(stateDir, folder), { recursive: true })
    const drawn = await services.sampling.sample('anna', sample({ modelPath: path }))
    const failed = await outcome('anna', drawn.requestId)
    expect(failed).toMatchObject({ state: 'failed', error: { category: 'server' } })
    expect(failed.error.message).not.toContain(stateDir)
  })

  it('refuses a prompt that does not fit, naming both sizes', async () => {
    const call = sample({ baseModel: 'tiny', prompt: new Int32Array(600).fill(1) })
    await expect(services.sampling.sample('anna', call)).rejects.toThrow(/600.*512/)
  })
})

describe('sessions', () => {
  it('that are over still get the samples that were acknowledged, also those that waited for their turn', async () => {
    const model = await createModel()
    const saved = await services.training.saveForSampler('anna', {
      modelId: model,
      seqId: 1,
      samplingSessionSeqId: 0,
      ttlSeconds: null,
      userMetadata: {},
    })
    const { sampling_session_id: sampler } = await outcome('anna', saved.requestId)
    const gate = engine().block('generate')
    await services.sampling.sample('anna', sample({ baseModel: 'tiny', samples: 100 }))
    const call = sample({ samplingSessionId: sampler, seqId: '0', seed: '7' })
    const { requestId } = await services.sampling.sample('anna', call)
    await gate.entered
    const released = sinon.spy(services.checkpoints, 'removeUnused')
    await services.sessions.finish('anna', session, 'success', null)
    await expect.poll(() => released.called).toBe(true)
    await released.firstCall.returnValue
    gate.open()
    expect((await outcome('anna', requestId)).sequences).toHaveLength(2)
  })

  it('that are over end what still waited for a number that never came', async () => {
    const model = await createModel()
    const { requestId } = await services.training.train('anna', pass(model, 2))
    await services.sessions.finish('anna', session, 'success', null)
    expect(await outcome('anna', requestId)).toMatchObject({ state: 'failed', error: { code: 'SESSION_OVER' } })
  })

  it('that are finished take no further work, and give their adapters back', async () => {
    const model = await createModel()
    const last = await services.training.train('anna', pass(model, 1))
    await services.sessions.finish('anna', session, 'success', null)
    expect((await outcome('anna', last.requestId)).metrics).toBeDefined()
    await expect(services.training.train('anna', pass(model, 2))).rejects.toMatchObject({ status: 410 })
    await expect.poll(async () => (await engine().status()).adapters, { timeout: 20_000 }).toBe(0)
  })
})

describe('one tenant beside another', () => {
  it('is not held up by an operation that is larger than a batch', async () => {
    const large = await createModel('anna')
    const own = session
    session = await newSession('bert')
    const small = await createModel('bert')
    session = own
    const gate = engine().block('train')
    const datums = Array.from({ length: 20 }, () => datum(...Array.from({ length: 500 }, (_, i) => i % 100)))
    const long = await services.training.train('anna', pass(large, 1, { datums, matrix: datums.map(() => false) }))
    await gate.entered
    const step = await services.training.optimStep('bert', small, 1, ADAMW)
    expect(await outcome('bert', step.requestId)).toMatchObject({ type: 'optim_step' })
    expect(await services.futures.retrieve('anna', long.requestId, 1, never)).toEqual({ state: 'pending' })
    gate.open()
    expect((await outcome('anna', long.requestId)).metrics).toBeDefined()
  })

  it('draws in turn however many samples the other has waiting', async () => {
    const gate = engine().block('generate')
    const busy = Array.from({ length: 6 }, () =>
      services.sampling.sample('anna', sample({ baseModel: 'tiny', samples: 32 })),
    )
    const submitted = await Promise.all(busy)
    const late = await services.sampling.sample('bert', sample({ baseModel: 'tiny', samples: 1 }))
    gate.open()
    await Promise.all(submitted.map(({ requestId }) => outcome('anna', requestId)))
    await outcome('bert', late.requestId)
    const order = engine().calls.filter((c) => c.op === 'generate')
    const position = order.findIndex((c) => (c.arg as { samples: number }).samples === 1)
    // Three of the first are drawn when it comes, and the next three places are given out at once.
    expect(position).toBeLessThanOrEqual(5)
  })
})

describe('a state directory that fails', () => {
  it('answers nobody before the result is written down, and then everybody', async () => {
    const model = await createModel()
    const gate = engine().block('train')
    const { requestId } = await services.training.train('anna', pass(model, 1))
    await gate.entered
    const failing = sinon.stub(Journal.prototype, 'finish').rejects(new Error('disk full'))
    const waiting = outcome('anna', requestId)
    gate.open()
    await expect.poll(() => failing.called).toBe(true)
    expect(await services.futures.retrieve('anna', requestId, 1, never)).toEqual({ state: 'pending' })
    failing.restore()
    expect((await waiting).metrics).toBeDefined()
  })

  it('does not use up the number of a request that the client will send again', async () => {
    const model = await createModel()
    const failing = sinon.stub(Journal.prototype, 'append').rejects(new Error('disk full'))
    await expect(services.training.train('anna', pass(model, 1))).rejects.toThrow('disk full')
    failing.restore()
    const again = await services.training.train('anna', pass(model, 1))
    expect((await outcome('anna', again.requestId)).metrics).toBeDefined()
  })
})

describe('an engine that dies', () => {
  it('is opened again until that works, while the server goes on', async () => {
    const engines = backend.engines.length
    backend.failOpen(new Error('no such file'))
    engine().crash()
    await expect.poll(() => backend.engines.length).toBe(engines + 1)
    const model = await createModel()
    expect(model).toBeDefined()
  })
})
