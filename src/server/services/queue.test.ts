// What waits, why and for how long, through the services with a fake engine: limits, other tenants, a missing number, an
// engine that restarts.

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pino } from 'pino'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { type FakeBackend, fakeBackend } from '../../backends/testing/fake-backend.ts'
import type { SampleCall, TrainingCall } from '../calls.ts'
import { loadConfig } from '../config.ts'
import type { TenantLimits } from './limits.ts'
import { openServices, type Services } from './services.ts'

const CHECKPOINT = join(import.meta.dirname, '../../backends/transformers/goldens/llama-tied/checkpoint')
const never = new AbortController().signal

let stateDir: string
let backend: FakeBackend
let services: Services

beforeEach(() => {
  stateDir = mkdtempSync(join(tmpdir(), 'twinkle-queue-'))
})
afterEach(async () => {
  await services.close()
  rmSync(stateDir, { recursive: true })
})

async function start(limits: Partial<TenantLimits> = {}): Promise<void> {
  const { config } = await loadConfig({ flags: { stateDir, models: [`tiny=${CHECKPOINT}`] } })
  backend = fakeBackend()
  const models = config.models.filter((m) => m.name === 'tiny')
  const all = { ...config, models, limits: { ...config.limits, ...limits } }
  services = await openServices(all, () => backend, pino({ level: 'silent' }))
}
const engine = () => backend.engines.at(-1) as FakeBackend['engines'][number]

async function newModel(tenant: string): Promise<string> {
  const about = { tags: [], userMetadata: {}, sdkVersion: null, projectId: null, displayName: null }
  const sessionId = await services.sessions.create(tenant, about)
  const switches = { trainAttention: true, trainMlp: true, trainUnembed: true }
  const run = { sessionId, modelSeqId: 0, baseModel: 'tiny', rank: 4, ...switches, userMetadata: {} }
  const { requestId, modelId } = await services.training.createModel(tenant, run)
  await done(tenant, requestId)
  return modelId
}
async function done(tenant: string, id: string): Promise<void> {
  const { state } = await services.futures.retrieve(tenant, id, 30_000, never)
  expect(state).toBe('done')
}
async function train(tenant: string, modelId: string, seqId: number, tokens = 100): Promise<string> {
  const ids = Int32Array.from({ length: tokens }, (_, i) => i % 50)
  const common = { forwardOnly: false, lossName: 'cross_entropy', lossConfig: {}, matrix: [false] }
  const call: TrainingCall = { modelId, seqId, ...common, datums: [{ tokens: ids, targets: ids, width: 1 }] }
  return (await services.training.train(tenant, call)).requestId
}
async function sample(tenant: string, samples: number, maxTokens = 4): Promise<string> {
  const none = { topK: 0, promptLogprobs: false, topkPromptLogprobs: 0, topkSampleLogprobs: 0 }
  const call = { baseModel: 'tiny', prompt: Int32Array.of(1, 2), samples, maxTokens, temperature: 1, topP: 1, ...none }
  const { requestId } = await services.sampling.sample(tenant, {
    ...call,
    stop: { strings: [], tokens: [] },
  } as SampleCall)
  return requestId
}

describe('a limit of tokens', () => {
  it('holds training until its time, and lets it go when it is lifted', async () => {
    await start({ trainingTokensPerMinute: 100 })
    const limits = vi.spyOn(services.tenants, 'limitsOf')
    const model = await newModel('anna')
    await done('anna', await train('anna', model, 1))
    const held = await train('anna', model, 2)
    await vi.waitFor(() => expect(services.queue.standing(held)).toMatchObject({ queueState: 'paused_rate_limit' }))
    expect(services.queue.standing(held)).toMatchObject({
      tenant: 'anna',
      baseModel: 'tiny',
      kind: 'training',
      state: 'waiting',
      reason: 'over its limit of 100 training tokens a minute',
    })
    const estimate = services.queue.standing(held)?.estimateMs ?? 0
    expect(estimate).toBeGreaterThan(30_000)
    expect(estimate).toBeLessThanOrEqual(60_000)
    const unlimited = { ...services.tenants.limitsOf('anna'), trainingTokensPerMinute: null }
    limits.mockReturnValue(unlimited)
    services.lanes.reconsider()
    await done('anna', held)
    expect(services.queue.standing(held)).toBeNull()
  })

  it('does not hold other tenants, nor what costs no tokens', async () => {
    await start({ trainingTokensPerMinute: 100 })
    const [mine, theirs] = [await newModel('anna'), await newModel('bert')]
    await done('anna', await train('anna', mine, 1))
    await train('anna', mine, 2)
    await done('bert', await train('bert', theirs, 1))
    await newModel('anna')
  })

  it('keeps what it holds for the next start when the server closes', async () => {
    await start({ trainingTokensPerMinute: 100 })
    const model = await newModel('anna')
    await done('anna', await train('anna', model, 1))
    const held = await train('anna', model, 2)
    await services.close()
    await start()
    await done('anna', held)
  })
})

describe('a limit of samples at the same time', () => {
  it('makes more wait, with a reason, until one has ended', async () => {
    await start({ concurrentSamples: 2 })
    const gate = engine().block('generate')
    const first = await sample('anna', 2)
    const second = await sample('anna', 1)
    expect(services.queue.standing(second)).toMatchObject({
      queueState: 'paused_rate_limit',
      position: 0,
      reason: 'over its limit of 2 sequences drawn at the same time',
      estimateMs: null,
    })
    gate.open()
    await done('anna', first)
    await done('anna', second)
  })
})

describe('what waits without being over a limit', () => {
  it('names the number that has not come', async () => {
    await start()
    const early = await train('anna', await newModel('anna'), 2)
    expect(services.queue.standing(early)).toMatchObject({
      queueState: 'active',
      position: 0,
      reason: 'waiting for request number 1 of this model, which has not come',
    })
  })

  it('counts what is ahead of it, and is paused only by other tenants', async () => {
    await start()
    const gate = engine().block('generate')
    for (let i = 0; i < 80; i++) await sample('anna', 1)
    const own = await sample('anna', 1)
    expect(services.queue.standing(own)).toMatchObject({
      queueState: 'active',
      position: 8,
      reason: 'behind 8 operations of its own tenant',
    })
    for (let i = 0; i < 30; i++) await sample(`other ${i}`, 1)
    const late = await sample('bert', 1)
    expect(services.queue.standing(late)).toMatchObject({
      queueState: 'paused_capacity',
      reason: expect.stringMatching(/^behind \d+ operations, \d+ other tenants among their owners$/),
    })
    const { lines, operations } = services.queue.snapshot({ limit: 10, tenant: 'bert' })
    expect(operations.map(({ requestId }) => requestId)).toEqual([late])
    expect(lines).toContainEqual(expect.objectContaining({ kind: 'sampling', running: 96, tenants: 32 }))
    gate.open()
    await done('bert', late)
    await done('anna', own)
  })

  it('hears that the engine restarts, also when it had begun', async () => {
    await start()
    const model = await newModel('anna')
    const gate = engine().block('train')
    const id = await train('anna', model, 1)
    await gate.entered
    expect(services.queue.standing(id)).toMatchObject({ state: 'running', queueState: 'active', reason: null })
    backend.failOpen(new Error('no memory just now'))
    engine().crash()
    await vi.waitFor(() => {
      expect(services.queue.standing(id)).toMatchObject({
        queueState: 'paused_capacity',
        reason: 'the engine of tiny is restarting',
      })
    })
    await done('anna', id)
  })
})
