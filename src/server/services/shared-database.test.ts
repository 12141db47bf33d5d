// Two servers on one database and one state folder, in this process and with fake engines: whichever is asked, the one that
// has the engine does the work, once; and another one takes over where it left off. Only on PostgreSQL.

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Kysely, sql } from 'kysely'
import { pino } from 'pino'
import sinon from 'sinon'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type FakeBackend, fakeBackend } from '../../backends/testing/fake-backend.ts'
import type { SampleCall, TrainingCall } from '../calls.ts'
import { loadConfig } from '../config.ts'
import { serviceError } from '../errors.ts'
import { openDatabase } from '../store/database.ts'
import type { Database } from '../store/schema.ts'
import { newDatabase, type TestDatabase } from '../store/testing/databases.ts'
import { decodeSampleReply, decodeTrainingReply } from '../wire/reply.ts'
import { openServices, type Services } from './services.ts'

const CHECKPOINT = join(import.meta.dirname, '../../backends/transformers/goldens/llama-tied/checkpoint')
const MODEL = 'org/tiny'
const TENANT = 'anna'
const never = new AbortController().signal
const silent = pino({ level: 'silent' })

interface Server {
  readonly services: Services
  readonly backend: FakeBackend
}

let stateDir: string
let database: TestDatabase
let db: Kysely<Database>
let open: Server[]
/** Was there first, and has the engine. */
let owner: Server
let other: Server
let session: string

beforeEach(async () => {
  stateDir = mkdtempSync(join(tmpdir(), 'twinkle-shared-'))
  database = await newDatabase()
  db = await openDatabase({ database: database.url, stateDir })
  open = []
  owner = await newServer()
  other = await newServer()
  session = await newSession()
})
afterEach(async () => {
  await Promise.all(open.map(({ services }) => services.close()))
  await db.destroy()
  await database.remove()
  rmSync(stateDir, { recursive: true })
})

async function newServer(changes: { leaseSeconds?: number; engines?: 'none' } = {}): Promise<Server> {
  const flags = { stateDir, database: database.url, models: [`${MODEL}=${CHECKPOINT}`], ...changes }
  const { config } = await loadConfig({ flags, env: {} })
  const backend = fakeBackend()
  const models = config.models.filter(({ name }) => name === MODEL)
  const server = { services: await openServices({ ...config, models }, () => backend, silent), backend }
  open.push(server)
  return server
}
async function close(server: Server): Promise<void> {
  open = open.filter((one) => one !== server)
  await server.services.close()
}

const newSession = () =>
  owner.services.sessions.create(TENANT, {
    tags: [],
    userMetadata: {},
    sdkVersion: null,
    projectId: null,
    displayName: null,
  })

async function outcome({ services }: Server, id: string) {
  const future = await services.futures.retrieve(TENANT, id, 20_000, never)
  if (future.state === 'done' && future.type === 'json') return JSON.parse(new TextDecoder().decode(future.bytes))
  if (future.state === 'done' && future.type === 'training') return decodeTrainingReply(future.bytes)
  if (future.state === 'done' && future.type === 'sample') return decodeSampleReply(future.bytes)
  return future
}

const newRun = (modelSeqId = 0) => ({
  sessionId: session,
  modelSeqId,
  baseModel: MODEL,
  rank: 4,
  seed: '7',
  trainAttention: true,
  trainMlp: true,
  trainUnembed: true,
  userMetadata: {},
})
const pass = (modelId: string, seqId: number, changes: Partial<TrainingCall> = {}): TrainingCall => ({
  modelId,
  seqId,
  forwardOnly: false,
  lossName: 'cross_entropy',
  lossConfig: {},
  datums: [{ tokens: Int32Array.of(seqId, 2, 3), targets: Int32Array.of(2, 3, 4), width: 1 }],
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
  baseModel: MODEL,
  prompt: Int32Array.of(1, 2, 3),
  samples: 2,
  maxTokens: 4,
  temperature: 1,
  topK: 0,
  topP: 1,
  seed: '11',
  promptLogprobs: false,
  topkPromptLogprobs: 0,
  topkSampleLogprobs: 0,
  ...changes,
})

/** Every call by the other of the two servers. */
async function trained(
  steps: number,
  at: readonly Server[] = [other, owner],
): Promise<{ modelId: string; ids: string[] }> {
  const server = (turn: number) => at[turn % at.length] as Server
  const { requestId, modelId } = await server(0).services.training.createModel(TENANT, newRun())
  const ids = [requestId]
  for (let step = 0; step < steps; step++) {
    const seq = 2 * step + 1
    ids.push((await server(step).services.training.train(TENANT, pass(modelId, seq))).requestId)
    ids.push((await server(step + 1).services.training.optimStep(TENANT, modelId, seq + 1, ADAMW)).requestId)
  }
  return { modelId, ids }
}
const engineOf = ({ backend }: Server) => backend.engines.at(-1) as FakeBackend['engines'][number]
const callsOf = (server: Server, op: string) => engineOf(server).calls.filter((call) => call.op === op).length

/** As if a third server had had the engine after the owner, and were gone. */
async function loseLease(): Promise<void> {
  await db.transaction().execute(async (trx) => {
    await trx
      .updateTable('engine_leases')
      .set(({ eb }) => ({ owner: 'third', fence: eb('fence', '+', 1), expires_at: 0 }))
      .execute()
    await sql`select pg_notify('twinkle', ${JSON.stringify(['third', 'lease', MODEL])})`.execute(trx)
  })
}

/** The connections that signals come by are cut; what is sent before there are new ones is lost. */
async function deafen(): Promise<void> {
  await sql`select pg_terminate_backend(pid) from pg_stat_activity
    where datname = current_database() and query in ('listen twinkle', 'select 1')`.execute(db)
}

describe('two servers', () => {
  it('have one engine, and answer for all that is submitted to either', async () => {
    const { ids } = await trained(3)
    for (const [turn, id] of ids.entries()) {
      expect(await outcome(turn % 2 ? owner : other, id)).not.toHaveProperty('error')
    }
    expect(callsOf(owner, 'optimStep')).toBe(3)
    expect(other.backend.engines).toHaveLength(0)
    expect(other.services.models.get(MODEL).info).toEqual(engineOf(owner).info)
  })

  it('give the results of one server alone', async () => {
    const { ids } = await trained(3)
    const shared = await Promise.all(ids.slice(1).map((id) => outcome(other, id)))
    session = await newSession()
    const { ids: alone } = await trained(3, [owner])
    expect(await Promise.all(alone.slice(1).map((id) => outcome(owner, id)))).toEqual(shared)
  })

  it('draw samples that were asked for at either, with the same tokens', async () => {
    const here = await owner.services.sampling.sample(TENANT, sample())
    const there = await other.services.sampling.sample(TENANT, sample())
    expect(await outcome(owner, there.requestId)).toEqual(await outcome(other, here.requestId))
  })

  it('do not wait for a number that was refused at the other one', async () => {
    const { requestId, modelId } = await other.services.training.createModel(TENANT, newRun())
    await outcome(other, requestId)
    const second = await owner.services.training.train(TENANT, pass(modelId, 2))
    const refused = other.services.training.train(TENANT, pass(modelId, 1, { lossName: 'nonsense' }))
    await expect(refused).rejects.toThrow()
    expect(await outcome(other, second.requestId)).toHaveProperty('metrics')
  })

  it('cancel a sample wherever it is drawn', async () => {
    const gate = engineOf(owner).block('generate')
    const { requestId } = await other.services.sampling.sample(TENANT, sample())
    await gate.entered
    await other.services.sampling.cancel(TENANT, requestId)
    expect(await outcome(other, requestId)).toMatchObject({ state: 'failed', error: { code: 'CANCELLED' } })
  })

  it('answer who waits on a connection at either, and cancel its sample when it goes away', async () => {
    const told: number[] = []
    const held = await other.services.held.begin(TENANT, [sample()], never, () => told.push(1))
    const { replies } = await owner.services.held.begin(TENANT, [sample()], never, () => told.push(2))
    expect(await held.replies).toEqual(await replies)
    // Tokens are told where they are drawn; elsewhere they come with the end.
    expect(new Set(told)).toEqual(new Set([2]))
    const gate = engineOf(owner).block('generate')
    const abort = new AbortController()
    const left = await other.services.held.begin(TENANT, [sample({ seed: '12' })], abort.signal)
    await gate.entered
    abort.abort()
    await expect(left.replies).rejects.toMatchObject({ code: 'CANCELLED' })
    await expect.poll(() => gate.waiting).toBe(0)
    gate.open()
  })

  it('say at either where an operation stands', async () => {
    const { requestId, modelId } = await other.services.training.createModel(TENANT, newRun())
    await outcome(other, requestId)
    const early = await other.services.training.train(TENANT, pass(modelId, 2))
    const missing = { state: 'waiting', reason: expect.stringContaining('waiting for request number 1') }
    await expect.poll(() => owner.services.queue.standing(early.requestId)).toMatchObject(missing)
    expect(other.services.queue.standing(early.requestId)).toBeNull()
    const asked = await Promise.all([1, 2].map(() => other.services.inquiries.standing(early.requestId)))
    expect(asked).toEqual([1, 2].map(() => owner.services.queue.standing(early.requestId)))
    await outcome(other, (await owner.services.training.train(TENANT, pass(modelId, 1))).requestId)
    await outcome(other, early.requestId)
    expect(await other.services.inquiries.standing(early.requestId)).toBeNull()
  })

  it('end a run after what was acknowledged before, though at the other server', async () => {
    const { modelId, ids } = await trained(1)
    const gate = engineOf(owner).block('train')
    const last = await other.services.training.train(TENANT, pass(modelId, 3, { forwardOnly: true }))
    const unload = await owner.services.training.unload(TENANT, modelId)
    gate.open()
    expect(await outcome(owner, unload.requestId)).toMatchObject({ type: 'unload_model' })
    for (const id of [...ids, last.requestId]) expect(await outcome(other, id)).not.toHaveProperty('error')
    expect((await engineOf(owner).status()).adapters).toBe(0)
  })

  it('give adapters back when a session is finished at the other one', async () => {
    const { ids } = await trained(1)
    await Promise.all(ids.map((id) => outcome(other, id)))
    await other.services.sessions.finish(TENANT, session, 'completed', null)
    await expect.poll(async () => (await engineOf(owner).status()).adapters, { timeout: 20_000 }).toBe(0)
  })
})

describe('signals that are lost', () => {
  it('are made up for by looking: for work, for its end, and for the end of a session', async () => {
    const { modelId, ids } = await trained(1)
    await Promise.all(ids.map((id) => outcome(other, id)))
    await deafen()
    const { requestId } = await other.services.training.train(TENANT, pass(modelId, 3))
    expect(await outcome(other, requestId)).toHaveProperty('metrics')
    await deafen()
    await other.services.sessions.finish(TENANT, session, 'completed', null)
    await expect.poll(async () => (await engineOf(owner).status()).adapters, { timeout: 20_000 }).toBe(0)
  })
})

describe('a database that does not answer when it is asked what signals were lost', () => {
  it('is asked again, and nothing is given up or forgotten meanwhile', async () => {
    const { modelId, ids } = await trained(1)
    await Promise.all(ids.map((id) => outcome(other, id)))
    const { journal, sessions, runs } = owner.services
    for (const stub of [
      () => sinon.stub(journal, 'unfinished'),
      () => sinon.stub(runs, 'live'),
      () => sinon.stub(sessions, 'require'),
    ]) {
      const stubbed = stub().callThrough()
      stubbed.onFirstCall().rejects(serviceError('DATABASE_AWAY'))
      await deafen()
      await expect.poll(() => stubbed.callCount, { timeout: 20_000 }).toBeGreaterThan(1)
      stubbed.restore()
    }
    const { requestId } = await other.services.training.train(TENANT, pass(modelId, 3))
    expect(await outcome(other, requestId)).toHaveProperty('metrics')
    expect(await owner.services.runs.find(TENANT, modelId)).toMatchObject({ state: 'ready' })
  })

  it('fails no work that another server has acknowledged', async () => {
    const { modelId, ids } = await trained(1)
    await Promise.all(ids.map((id) => outcome(other, id)))
    const stubbed = sinon.stub(owner.services.journal, 'open').callThrough()
    stubbed.onFirstCall().rejects(serviceError('DATABASE_AWAY'))
    const { requestId } = await other.services.training.train(TENANT, pass(modelId, 3))
    expect(await outcome(other, requestId)).toHaveProperty('metrics')
    expect(stubbed.callCount).toBe(2)
    const sampler = { sessionId: session, seqId: 0, baseModel: MODEL }
    const samplingSessionId = await other.services.sampling.open(TENANT, sampler)
    const found = sinon.stub(owner.services.sampling, 'find').callThrough()
    found.onFirstCall().rejects(serviceError('DATABASE_AWAY'))
    const { baseModel: _, ...call } = sample()
    const drawn = await other.services.sampling.sample(TENANT, { ...call, samplingSessionId, seqId: '0' })
    expect(await outcome(other, drawn.requestId)).toHaveProperty('sequences')
    expect(found.callCount).toBe(2)
  })
})

describe('the engine', () => {
  it('is handed over when its server ends in order, and nothing is done twice', async () => {
    const { modelId, ids } = await trained(2)
    await close(owner)
    const more = await other.services.training.train(TENANT, pass(modelId, 5, { forwardOnly: true }))
    for (const id of [...ids, more.requestId]) expect(await outcome(other, id)).not.toHaveProperty('error')
    expect(other.backend.engines).toHaveLength(1)
  })

  it('is taken over from a server that lost it, which closes its own, and nothing is done twice', async () => {
    const { modelId, ids } = await trained(1)
    await Promise.all(ids.map((id) => outcome(owner, id)))
    const first = engineOf(owner)
    const gate = first.block('optimStep')
    await owner.services.training.train(TENANT, pass(modelId, 3))
    const step = await owner.services.training.optimStep(TENANT, modelId, 4, ADAMW)
    const drawing = first.block('generate')
    const drawn = await owner.services.sampling.sample(TENANT, sample())
    await Promise.all([gate.entered, drawing.entered])
    await loseLease()
    expect(await outcome(owner, step.requestId)).toMatchObject({ metrics: { optimizer_step: 2 } })
    expect(await outcome(other, drawn.requestId)).toHaveProperty('sequences')
    await first.closed
    await owner.services.training.train(TENANT, pass(modelId, 5))
    const next = await owner.services.training.optimStep(TENANT, modelId, 6, ADAMW)
    expect(await outcome(owner, next.requestId)).toMatchObject({ metrics: { optimizer_step: 3 } })
    const rows = await db.selectFrom('operations').select(['kind', 'state']).execute()
    expect(rows.filter(({ state }) => state !== 'done')).toEqual([])
  })

  it('comes back to a server that lost it, when the other one ends', async () => {
    const { modelId, ids } = await trained(1)
    await Promise.all(ids.map((id) => outcome(owner, id)))
    await loseLease()
    await engineOf(owner).closed
    await close(other)
    await owner.services.training.train(TENANT, pass(modelId, 3))
    const step = await owner.services.training.optimStep(TENANT, modelId, 4, ADAMW)
    expect(await outcome(owner, step.requestId)).toMatchObject({ metrics: { optimizer_step: 2 } })
  })
})

describe('a server without engines', () => {
  it('serves what others compute, and leaves an engine without a server alone', async () => {
    await close(other)
    const front = await newServer({ engines: 'none' })
    const { modelId, ids } = await trained(1, [front])
    for (const id of ids) expect(await outcome(front, id)).not.toHaveProperty('error')
    await close(owner)
    const later = await front.services.training.train(TENANT, pass(modelId, 3))
    expect((await front.services.futures.retrieve(TENANT, later.requestId, 50, never)).state).toBe('pending')
    expect(front.backend.engines).toHaveLength(0)
    const next = await newServer()
    expect(await outcome(front, later.requestId)).toHaveProperty('metrics')
    expect(next.backend.engines).toHaveLength(1)
  })
})
