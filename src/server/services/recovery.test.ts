// What a crash leaves behind, and what becomes of it: `kill -9` of the server is a copy of its state directory taken in
// mid-flight and opened by other services; the death of an engine is a crash of the fake one.

import { cpSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pino } from 'pino'
import sinon from 'sinon'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { TrainingDatum } from '../../backends/backend.ts'
import { engineError } from '../../backends/engine-errors.ts'
import { type FakeBackend, fakeBackend } from '../../backends/testing/fake-backend.ts'
import { FakeEngine, type FakeOp } from '../../backends/testing/fake-engine.ts'
import type { SampleCall, TrainingCall } from '../calls.ts'
import { loadConfig } from '../config.ts'
import { serviceError } from '../errors.ts'
import { Compaction } from '../store/compaction.ts'
import { openDatabase } from '../store/database.ts'
import { DEFAULT_POLICY } from '../store/policy.ts'
import { newDatabase, type TestDatabase } from '../store/testing/databases.ts'
import { decodeSampleReply, decodeTrainingReply } from '../wire/reply.ts'
import { openServices, type Services } from './services.ts'

const CHECKPOINT = join(import.meta.dirname, '../../backends/transformers/goldens/llama-tied/checkpoint')
const never = new AbortController().signal
const silent = pino({ level: 'silent' })

interface House {
  readonly services: Services
  readonly backend: FakeBackend
}

let root: string
/** Of the first house, and of those that started after it was killed. */
let databases: TestDatabase[]
let open: House[]
let house: House
let session: string

beforeEach(async () => {
  root = mkdtempSync(join(tmpdir(), 'twinkle-recovery-'))
  databases = [await newDatabase()]
  open = []
  house = await openHouse('first')
  session = await house.services.sessions.create('anna', {
    tags: [],
    userMetadata: {},
    sdkVersion: null,
    projectId: null,
    displayName: null,
  })
})
afterEach(async () => {
  for (const { services } of open) await services.close()
  for (const database of databases) await database.remove()
  rmSync(root, { recursive: true })
})

const databaseUrl = () => databases.at(-1)?.url as string

async function openHouse(folder: string, model = 'tiny'): Promise<House> {
  const place = { stateDir: join(root, folder), database: databaseUrl() }
  const { config } = await loadConfig({ flags: { ...place, models: [`${model}=${CHECKPOINT}`] } })
  const backend = fakeBackend()
  const models = config.models.filter((m) => m.name === model)
  const opened = { services: await openServices({ ...config, models }, () => backend, silent), backend }
  open.push(opened)
  return opened
}

/** The server dies now; another one starts on what is on disk. The dead one goes on unseen, in a folder of its own. */
async function killed(model = 'tiny'): Promise<House> {
  const name = `after-${open.length}`
  const from = open.length === 1 ? 'first' : `after-${open.length - 1}`
  const copied = await databases.at(-1)?.copy(() => cpSync(join(root, from), join(root, name), { recursive: true }))
  databases.push(copied as TestDatabase)
  return openHouse(name, model)
}

const engine = () => house.backend.engines.at(-1) as FakeBackend['engines'][number]

async function outcome({ services }: House, id: string) {
  const future = await services.futures.retrieve('anna', id, 20_000, never)
  if (future.state === 'done' && future.type === 'json') return JSON.parse(new TextDecoder().decode(future.bytes))
  if (future.state === 'done' && future.type === 'training') return decodeTrainingReply(future.bytes)
  if (future.state === 'done' && future.type === 'sample') return decodeSampleReply(future.bytes)
  return future
}
const outcomes = (at: House, ids: readonly string[]) => Promise.all(ids.map((id) => outcome(at, id)))

const newRun = (modelSeqId = 0) => ({
  sessionId: session,
  modelSeqId,
  baseModel: 'tiny',
  rank: 4,
  seed: '7',
  trainAttention: true,
  trainMlp: true,
  trainUnembed: true,
  userMetadata: {},
})
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
  datums: [datum(seqId, seqId + 1, 3)],
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
const weights = (name: string) => ({
  kind: 'weights' as const,
  name,
  overwrite: false,
  ttlSeconds: null,
  userMetadata: {},
  hasOptimizer: true,
})
const sample = (samplingSessionId: string, seqId: string): SampleCall => ({
  samplingSessionId,
  seqId,
  prompt: Int32Array.of(1, 2, 3),
  samples: 2,
  maxTokens: 4,
  temperature: 1,
  topK: 0,
  topP: 1,
  promptLogprobs: false,
  topkPromptLogprobs: 0,
  topkSampleLogprobs: 0,
})

interface Life {
  /** Request ids so far; at the end the last is a look at the weights. */
  readonly ids: string[]
  /** Settles when the first half is submitted: what can be, before there is a checkpoint to load. */
  readonly half: Promise<unknown>
  readonly whole: Promise<unknown>
}

/** Everything that a run can be asked, each half submitted at once. */
function life({ services: { training } }: House, modelSeqId: number): Life {
  const ids: string[] = []
  const modelId = `${session}:train:${modelSeqId}`
  const submitted = async (...submissions: (() => Promise<{ requestId: string }>)[]) => {
    for (const submit of submissions) ids.push((await submit()).requestId)
  }
  const half = submitted(
    () => training.createModel('anna', newRun(modelSeqId)),
    () => training.train('anna', pass(modelId, 1)),
    () => training.train('anna', pass(modelId, 2)),
    () => training.optimStep('anna', modelId, 3, ADAMW),
    () => training.saveWeights('anna', modelId, 4, weights('kept')),
    () => training.train('anna', pass(modelId, 5)),
    () => training.optimStep('anna', modelId, 6, ADAMW),
    () => training.train('anna', pass(modelId, 7, { forwardOnly: true })),
  )
  const whole = half.then(async () => {
    await outcome(house, ids[4] as string)
    await submitted(
      () => training.loadWeights('anna', modelId, 8, { path: `tinker://${modelId}/weights/kept`, optimizer: true }),
      () => training.train('anna', pass(modelId, 9)),
      () => training.optimStep('anna', modelId, 10, ADAMW),
      () => training.train('anna', pass(modelId, 11)),
      () => training.optimStep('anna', modelId, 12, ADAMW),
      () => training.train('anna', pass(modelId, 13, { forwardOnly: true })),
    )
  })
  return { ids, half, whole }
}

async function livedThrough(at: House, modelSeqId: number): Promise<string[]> {
  const { ids, whole } = life(at, modelSeqId)
  await whole
  return ids
}

const withoutRun = (replies: unknown[], seq: number) =>
  JSON.parse(JSON.stringify(replies).replaceAll(`:train:${seq}`, ''))

describe('a server that is killed', () => {
  it.each<[FakeOp, number, 'half' | 'whole']>([
    ['createAdapter', 0, 'half'],
    ['train', 0, 'half'],
    ['train', 1, 'half'],
    ['optimStep', 0, 'half'],
    ['saveAdapter', 0, 'half'],
    ['saveAdapter', 1, 'half'],
    ['train', 2, 'whole'],
    ['optimStep', 1, 'whole'],
    ['train', 3, 'whole'],
    ['loadAdapter', 0, 'whole'],
    ['train', 4, 'whole'],
    ['optimStep', 2, 'whole'],
    ['train', 5, 'whole'],
    ['optimStep', 3, 'whole'],
    ['train', 6, 'whole'],
  ])('while %s number %i is under way answers as if it had not been', async (op, skipped, part) => {
    const undisturbed = withoutRun(await outcomes(house, await livedThrough(house, 0)), 0)
    let gate = engine().block(op)
    const run = life(house, 1)
    for (let count = 0; count < skipped; count++) {
      await gate.entered
      const next = engine().block(op)
      gate.open()
      gate = next
    }
    await gate.entered
    await run[part]
    const acknowledged = [...run.ids]
    const after = await killed()
    gate.open()
    const answers = withoutRun(await outcomes(after, acknowledged), 1)
    expect(answers).toEqual(undisturbed.slice(0, acknowledged.length))
    await run.whole
  })

  it('keeps every answer that it has given', async () => {
    const ids = await livedThrough(house, 0)
    const before = await outcomes(house, ids)
    const after = await killed()
    expect(await outcomes(after, ids)).toEqual(before)
    expect(after.backend.engines[0]?.calls ?? []).toEqual([])
  })

  it('goes on with a run that has a gradient, and brings back no run before it is asked for', async () => {
    const { services } = house
    const { modelId } = await services.training.createModel('anna', newRun())
    await services.training.train('anna', pass(modelId, 1))
    const { requestId } = await services.training.train('anna', pass(modelId, 2))
    await outcome(house, requestId)
    const after = await killed()
    expect(after.backend.engines[0]?.calls ?? []).toEqual([])
    const ends: unknown[] = []
    for (const at of [house, after]) {
      await at.services.training.optimStep('anna', modelId, 3, ADAMW)
      const { requestId: last } = await at.services.training.train('anna', pass(modelId, 4, { forwardOnly: true }))
      ends.push(await outcome(at, last))
    }
    expect(ends[1]).toEqual(ends[0])
  })

  it('does not need a checkpoint any more that a run was loaded from', async () => {
    const { training, retention } = house.services
    const first = await training.createModel('anna', newRun())
    await training.train('anna', pass(first.modelId, 1))
    await training.optimStep('anna', first.modelId, 2, ADAMW)
    await outcome(house, (await training.saveWeights('anna', first.modelId, 3, weights('a'))).requestId)
    const path = `tinker://${first.modelId}/weights/a`
    const from = { sessionId: session, modelSeqId: 1, path, optimizer: true, userMetadata: {} }
    const { requestId, modelId } = await training.resume('anna', from)
    await outcome(house, requestId)
    await retention.remove('anna', path)
    const after = await killed()
    const look = async (at: House, seq: number) =>
      outcome(at, (await at.services.training.train('anna', pass(modelId, seq, { datums: [datum(9)] }))).requestId)
    expect(await look(after, 1)).toEqual(await look(house, 1))
  })

  it('still waits for numbers that have not come, and not for those that were refused', async () => {
    const { training } = house.services
    const { requestId, modelId } = await training.createModel('anna', newRun())
    await outcome(house, requestId)
    await expect(training.train('anna', pass(modelId, 1, { lossName: 'nonsense' }))).rejects.toThrow()
    await training.refuse('anna', modelId, 3)
    const early = await training.train('anna', pass(modelId, 4))
    const after = await killed()
    const state = await after.services.futures.retrieve('anna', early.requestId, 1, never)
    expect(state).toEqual({ state: 'pending' })
    const two = await after.services.training.train('anna', pass(modelId, 2))
    expect((await outcome(after, early.requestId)).metrics).toBeDefined()
    expect((await outcome(after, two.requestId)).metrics).toBeDefined()
    const again = await after.services.training.train('anna', pass(modelId, 4))
    expect(again.requestId).toBe(early.requestId)
  })

  it('drops a sample that somebody waited for on a connection to it: nobody can come back for it', async () => {
    const gate = engine().block('generate')
    const held = { ...sample('', '0'), baseModel: 'tiny', isHeld: true as const }
    const { samplingSessionId: _, seqId: __, ...call } = held
    const { requestId } = await house.services.sampling.sample('anna', call)
    await gate.entered
    const after = await killed()
    gate.open()
    // Where servers share a database, the connection may be to another one, which lives.
    const isShared = databaseUrl() !== 'sqlite'
    const ended = isShared ? { sequences: expect.any(Array) } : { state: 'failed', error: { code: 'CANCELLED' } }
    expect(await outcome(after, requestId)).toMatchObject(ended)
    const drawn = after.backend.engines[0]?.calls.filter(({ op }) => op === 'generate')
    expect(drawn).toHaveLength(isShared ? 1 : 0)
  })

  it('draws the same tokens for a sample that had a seed of the server’s own', async () => {
    const sampler = await house.services.sampling.open('anna', { sessionId: session, seqId: 0, baseModel: 'tiny' })
    const gate = engine().block('generate')
    const { requestId } = await house.services.sampling.sample('anna', sample(sampler, '0'))
    await gate.entered
    const after = await killed()
    gate.open()
    const { sequences } = await outcome(house, requestId)
    expect((await outcome(after, requestId)).sequences).toEqual(sequences)
    expect(await after.services.sampling.sample('anna', sample(sampler, '0'))).toMatchObject({ requestId })
  })

  it('finishes what a session had acknowledged before it ended, and lets its runs go', async () => {
    const { training, sessions } = house.services
    const { requestId, modelId } = await training.createModel('anna', newRun())
    await outcome(house, requestId)
    const gate = engine().block('train')
    const last = await training.train('anna', pass(modelId, 1))
    const stranded = await training.train('anna', pass(modelId, 3))
    await gate.entered
    await sessions.finish('anna', session, 'success', null)
    const after = await killed()
    gate.open()
    expect((await outcome(after, last.requestId)).metrics).toBeDefined()
    // The first server may have said so before it was killed.
    const { error } = await outcome(after, stranded.requestId)
    expect(['MODEL_GONE', 'SESSION_OVER']).toContain(error.code)
    await expect.poll(async () => (await after.services.runs.find('anna', modelId)).state).toBe('unloaded')
    expect((await after.backend.engines[0]?.status())?.adapters).toBe(0)
  })

  it('keeps what belongs to a model that it does not serve any more until it does again', async () => {
    const { training, sampling } = house.services
    const sampler = await sampling.open('anna', { sessionId: session, seqId: 0, baseModel: 'tiny' })
    const gates = [engine().block('createAdapter'), engine().block('generate')]
    const { requestId } = await training.createModel('anna', newRun())
    const drawn = await sampling.sample('anna', sample(sampler, '0'))
    await Promise.all(gates.map(({ entered }) => entered))
    const other = await killed('other')
    for (const id of [requestId, drawn.requestId]) {
      expect(await other.services.futures.retrieve('anna', id, 1, never)).toEqual({ state: 'pending' })
    }
    const again = await killed()
    for (const gate of gates) gate.open()
    expect(await outcome(again, requestId)).toMatchObject({ type: 'create_model' })
    expect((await outcome(again, drawn.requestId)).sequences).toHaveLength(2)
  })

  it('may be killed again while it takes up its work', async () => {
    const gate = engine().block('optimStep')
    const { modelId } = await house.services.training.createModel('anna', newRun())
    await house.services.training.train('anna', pass(modelId, 1))
    const { requestId } = await house.services.training.optimStep('anna', modelId, 2, ADAMW)
    await gate.entered
    await killed()
    const after = await killed()
    gate.open()
    expect(await outcome(after, requestId)).toMatchObject({ metrics: { optimizer_step: 1 } })
    const { requestId: last } = await after.services.training.optimStep('anna', modelId, 3, ADAMW)
    expect(await outcome(after, last)).toMatchObject({ metrics: { optimizer_step: 1, applied: 0 } })
  })
})

describe('an engine that dies', () => {
  it.each<FakeOp>(['createAdapter', 'train', 'optimStep', 'saveAdapter', 'loadAdapter'])(
    'in the middle of %s is replaced, and nobody notices',
    async (op) => {
      const undisturbed = withoutRun(await outcomes(house, await livedThrough(house, 0)), 0)
      const gate = engine().block(op)
      const ids = livedThrough(house, 1)
      await gate.entered
      engine().crash()
      expect(withoutRun(await outcomes(house, await ids), 1)).toEqual(undisturbed)
      expect(house.backend.engines).toHaveLength(2)
    },
  )

  it('takes samples along: the same tokens come from its successor', async () => {
    const sampler = await house.services.sampling.open('anna', { sessionId: session, seqId: 0, baseModel: 'tiny' })
    const gate = engine().block('generate')
    const { requestId } = await house.services.sampling.sample('anna', sample(sampler, '0'))
    await gate.entered
    engine().crash()
    expect((await outcome(house, requestId)).sequences).toHaveLength(2)
  })

  it('is opened again until that works', async () => {
    house.backend.failOpen(engineError('ENGINE_LOST', 'killed while it opened'))
    house.backend.failOpen(new Error('no memory just now'))
    engine().crash()
    const { requestId } = await house.services.training.createModel('anna', newRun())
    expect(await outcome(house, requestId)).toMatchObject({ type: 'create_model' })
  })

  it('again and again by one operation takes only that one down', async () => {
    const { training } = house.services
    const { requestId, modelId } = await training.createModel('anna', newRun())
    await outcome(house, requestId)
    let gate = engine().block('train')
    const poison = await training.train('anna', pass(modelId, 1))
    const next = await training.train('anna', pass(modelId, 2))
    const died = outcome(house, poison.requestId)
    for (let losses = 0; losses < 3; losses++) {
      await gate.entered
      const dying = engine()
      dying.crash()
      while (engine() === dying) await new Promise(setImmediate)
      if (losses < 2) gate = engine().block('train')
    }
    expect(await died).toMatchObject({ state: 'failed', error: { code: 'POISONOUS', category: 'server' } })
    expect((await outcome(house, next.requestId)).metrics).toBeDefined()
  })

  it('by one operation of a batch spares its neighbours', async () => {
    const { training } = house.services
    const [mine, theirs] = [
      await training.createModel('anna', newRun(0)),
      await training.createModel('anna', newRun(1)),
    ]
    await outcomes(house, [mine.requestId, theirs.requestId])
    const { train } = FakeEngine.prototype
    const deadly = sinon.stub(FakeEngine.prototype, 'train').callsFake(function (this: FakeEngine, items, signal) {
      if (items.some(({ adapter }) => adapter === mine.modelId)) this.crash()
      return train.call(this, items, signal)
    })
    const [poison, good] = [
      await training.train('anna', pass(mine.modelId, 1)),
      await training.train('anna', pass(theirs.modelId, 1)),
    ]
    const [dead, done] = await outcomes(house, [poison.requestId, good.requestId])
    deadly.restore()
    expect(dead).toMatchObject({ state: 'failed', error: { code: 'POISONOUS' } })
    expect(done.metrics).toBeDefined()
  })

  it('when the server stops leaves its work in the journal for the next start', async () => {
    const { training } = house.services
    const { requestId, modelId } = await training.createModel('anna', newRun())
    await outcome(house, requestId)
    const gate = engine().block('train')
    const running = await training.train('anna', pass(modelId, 1))
    await gate.entered
    for (let i = 0; i < 20; i++) house.backend.failOpen(new Error('no memory'))
    engine().crash()
    await house.services.close()
    open.splice(0, 1)
    const after = await openHouse('first')
    expect((await outcome(after, running.requestId)).metrics).toBeDefined()
  })
})

describe('an answer', () => {
  it('that was kept for as long as the policy says is gone with a status that says so', async () => {
    const { requestId } = await house.services.training.createModel('anna', newRun())
    await outcome(house, requestId)
    await house.services.close()
    open.splice(0, 1)
    const db = await openDatabase({ stateDir: join(root, 'first'), database: databaseUrl() })
    await new Compaction(db, join(root, 'first')).run(Date.now() + DEFAULT_POLICY.answers + 1000)
    await db.destroy()
    house = await openHouse('first')
    await expect(outcome(house, requestId)).rejects.toMatchObject({ code: 'ANSWER_EXPIRED', status: 410 })
    expect(await house.services.training.createModel('anna', newRun())).toMatchObject({ requestId })
  })
})

describe('restart points', () => {
  it('are not taken while there is a gradient: a step that was refused for its settings has left one', async () => {
    const { training } = house.services
    const { modelId } = await training.createModel('anna', newRun())
    await training.train('anna', pass(modelId, 1))
    const refused = await training.optimStep('anna', modelId, 2, { ...ADAMW, beta1: 2 })
    expect(await outcome(house, refused.requestId)).toMatchObject({ state: 'failed' })
    await house.services.lanes.drain()
    const after = await killed()
    const steps = []
    for (const at of [house, after]) {
      const { requestId } = await at.services.training.optimStep('anna', modelId, 3, ADAMW)
      steps.push(await outcome(at, requestId))
    }
    expect(steps[0]).toMatchObject({ metrics: { applied: 1 } })
    expect(steps[1]).toEqual(steps[0])
  })

  it('are one folder a run, and none when the run is over', async () => {
    await outcomes(house, await livedThrough(house, 0))
    const folder = join(root, 'first', 'checkpoints', `${session}:train:0`.replaceAll(':', '_'), 'restart')
    expect(readdirSync(folder)).toHaveLength(1)
    const { requestId } = await house.services.training.unload('anna', `${session}:train:0`)
    await outcome(house, requestId)
    await house.services.lanes.drain()
    expect(readdirSync(folder)).toEqual([])
  })
})

describe('a database that dies', () => {
  /** What was recorded lazily is lost with it; the server and its engine go on. */
  const forgetStarts = () =>
    house.services.db
      .updateTable('operations')
      .set({ state: 'queued', position: null, started_at: null })
      .where('state', '=', 'running')
      .execute()
  const look = async (at: House, modelId: string, seq: number) =>
    outcome(at, (await at.services.training.train('anna', pass(modelId, seq, { forwardOnly: true }))).requestId)
  const away = () => serviceError('DATABASE_AWAY')

  it('and forgets what was being carried out takes nothing from what a run is brought back by', async () => {
    const { training } = house.services
    const { modelId } = await training.createModel('anna', newRun())
    for (const [op, seq] of [
      ['train', 1],
      ['optimStep', 3],
    ] as const) {
      const gate = engine().block(op)
      if (op === 'train') await training.train('anna', pass(modelId, seq))
      const { requestId } =
        op === 'train'
          ? await training.train('anna', pass(modelId, seq + 1))
          : await training.optimStep('anna', modelId, seq, ADAMW)
      await gate.entered
      await forgetStarts()
      gate.open()
      expect(await outcome(house, requestId)).toHaveProperty('metrics')
    }
    const { requestId } = await training.train('anna', pass(modelId, 4))
    await outcome(house, requestId)
    const after = await killed()
    expect(await look(after, modelId, 5)).toEqual(await look(house, modelId, 5))
  })

  it('while an adapter is to come back makes its operations wait, and fail none', async () => {
    const { modelId } = await house.services.training.createModel('anna', newRun())
    const { requestId } = await house.services.training.train('anna', pass(modelId, 1))
    await outcome(house, requestId)
    const after = await killed()
    const reads = sinon.stub(after.services.journal, 'effectsAfter').rejects(away())
    const next = await after.services.training.optimStep('anna', modelId, 2, ADAMW)
    await expect.poll(() => reads.callCount).toBe(2)
    reads.restore()
    expect(await outcome(after, next.requestId)).toMatchObject({ metrics: { optimizer_step: 1, applied: 1 } })
  })

  it.each(['save', 'load', 'create'] as const)('while a %s needs it makes that wait', async (what) => {
    const { training, checkpoints, runs } = house.services
    const { modelId } = await training.createModel('anna', newRun())
    await training.train('anna', pass(modelId, 1))
    await training.optimStep('anna', modelId, 2, ADAMW)
    await outcome(house, (await training.saveWeights('anna', modelId, 3, weights('a'))).requestId)
    await look(house, modelId, 4)
    const path = `tinker://${modelId}/weights/a`
    const stub =
      what === 'save'
        ? sinon.stub(checkpoints, 'checkFree').onFirstCall().rejects(away())
        : sinon.stub(runs, 'restartFolder').onFirstCall().rejects(away())
    stub.callThrough()
    const submit = {
      save: () => training.saveWeights('anna', modelId, 5, weights('b')),
      load: () => training.loadWeights('anna', modelId, 5, { path, optimizer: true }),
      create: () =>
        training.resume('anna', { sessionId: session, modelSeqId: 1, path, optimizer: true, userMetadata: {} }),
    }
    const { requestId } = await submit[what]()
    expect(await outcome(house, requestId)).toHaveProperty('type')
    expect(stub.callCount).toBeGreaterThan(1)
    stub.restore()
    const seq = what === 'create' ? 5 : 6
    await training.train('anna', pass(modelId, seq))
    const { requestId: last } = await training.optimStep('anna', modelId, seq + 1, ADAMW)
    expect(await outcome(house, last)).toMatchObject({ metrics: { optimizer_step: 2 } })
  })
})
