// More runs than an engine has places for: adapters go to disk and come back by themselves, and nobody can tell by a bit.

import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { engineError } from '../../backends/engine-errors.ts'
import type { FakeEngine } from '../../backends/testing/fake-engine.ts'
import type { ServerConfig } from '../config.ts'
import { openDatabase } from '../store/database.ts'
import { type Json, TestServer } from '../testing/test-server.ts'

// Hundreds of operations, on real engines too.
vi.setConfig({ testTimeout: 120_000 })

const servers: TestServer[] = []
afterEach(async () => {
  for (const server of servers.splice(0)) await server.stop()
})
async function start(settings: Partial<ServerConfig>): Promise<TestServer> {
  const server = new TestServer(settings)
  await server.start()
  servers.push(server)
  return server
}

async function newRuns(server: TestServer, count: number): Promise<string[]> {
  const session = await server.newSession()
  const runs: string[] = []
  for (let i = 0; i < count; i++) {
    runs.push(await server.newModel(session, { model_seq_id: i, lora_config: { rank: 4, seed: 7 + i } }))
  }
  return runs
}

const tokens = (from: number, count = 6) => Array.from({ length: count }, (_, i) => (7 * from + 3 * i) % 60)
function pass(model_id: string, seq_id: number, datums = 1, length = 6) {
  const data = Array.from({ length: datums }, (_, i) => ({
    model_input: { chunks: [{ tokens: tokens(seq_id + i, length) }] },
    loss_fn_inputs: { target_tokens: { data: tokens(seq_id + i + 1, length), dtype: 'int64', shape: [length] } },
  }))
  return { body: { model_id, seq_id, forward_backward_input: { data, loss_fn: 'cross_entropy' } } }
}
const forwardOf = (run: string, seq: number) => {
  const { forward_backward_input: forward_input, ...rest } = pass(run, seq).body
  return { ...rest, forward_input }
}
const step = (model_id: string, seq_id: number) => ({
  body: { model_id, seq_id, adam_params: { learning_rate: 0.01 } },
})

/** What was answered, and what the files of the runs are in the end, without anything that is drawn at random. */
interface History {
  readonly answers: Json[]
  readonly files: string[]
}

/** Passes, also such as pile up a gradient while others have their turn, and steps: one operation after the other. */
async function train(server: TestServer, runs: readonly string[]): Promise<History> {
  const answers: Json[] = []
  const all = async (work: (run: string) => Promise<Json>) => {
    for (const run of runs) answers.push(await work(run))
  }
  for (let seq = 1; seq <= 8; seq += 4) {
    await all((run) => server.result('forwardBackward', pass(run, seq)))
    await all((run) => server.result('forwardBackward', pass(run, seq + 1)))
    await all((run) => server.result('optimStep', step(run, seq + 2)))
    await all((run) => server.result('forwardBackward', pass(run, seq + 3)))
  }
  return { answers, files: await saved(server, runs, 9) }
}

async function saved(server: TestServer, runs: readonly string[], seq_id: number): Promise<string[]> {
  for (const model_id of runs) await server.result('saveWeights', { body: { model_id, seq_id, path: 'end' } })
  const db = await openDatabase(server.place)
  const rows = await db.selectFrom('checkpoints').select('files').where('name', '=', 'end').orderBy('run').execute()
  await db.destroy()
  return rows.map(({ files }) => files)
}

const engineOf = (server: TestServer) => server.backend.engines.at(-1) as FakeEngine
const callsOf = (server: TestServer, op: string) => engineOf(server).calls.filter((call) => call.op === op)

describe.each(['fake', 'transformers'])('an engine (%s) with two places', (backend) => {
  it('trains three runs to the same bits as one with a place for each', async () => {
    const [wide, narrow] = [await start({ backend }), await start({ backend, liveAdapters: 2 })]
    const expected = await train(wide, await newRuns(wide, 3))
    const found = await train(narrow, await newRuns(narrow, 3))
    expect(found).toEqual(expected)
    expect(found.files).toHaveLength(3)
  })
})

describe('an engine with few places', () => {
  it('never has more adapters than places, and writes none to disk that has a gradient', async () => {
    const server = await start({ liveAdapters: 1 })
    const [anna = '', bert = ''] = await newRuns(server, 2)
    await server.result('forwardBackward', pass(anna, 1))
    await server.result('forwardBackward', pass(bert, 1))
    expect(callsOf(server, 'saveAdapter')).toEqual([])
    await server.result('optimStep', step(anna, 2))
    await server.result('optimStep', step(bert, 2))
    expect(await engineOf(server).status()).toMatchObject({ adapters: 1 })
    expect(callsOf(server, 'saveAdapter').map(({ arg }) => arg)).toContain(anna)
  })

  it('serves what comes at once for many more runs, each in its order', async () => {
    const [wide, narrow] = [await start({}), await start({ liveAdapters: 3 })]
    const history = async (server: TestServer): Promise<History> => {
      const runs = await newRuns(server, 12)
      const submitted = runs.flatMap((run) => [
        server.call('forwardBackward', pass(run, 1)),
        server.call('forwardBackward', pass(run, 2)),
        server.call('optimStep', step(run, 3)),
        server.call('forwardBackward', pass(run, 4)),
      ])
      const answers: Json[] = []
      for (const { request_id } of await Promise.all(submitted)) {
        answers.push(await server.call('retrieveFuture', { body: { request_id } }))
      }
      return { answers, files: await saved(server, runs, 5) }
    }
    expect(await history(narrow)).toEqual(await history(wide))
    expect(await engineOf(narrow).status()).toMatchObject({ adapters: 3 })
  })

  it('lets a large operation end before another run gets its only place', async () => {
    const server = await start({ liveAdapters: 1 })
    const [anna = '', bert = ''] = await newRuns(server, 2)
    const gate = engineOf(server).block('train')
    const large = await server.call('forwardBackward', pass(anna, 1, 25, 400))
    await gate.entered
    const small = await server.call('forwardBackward', pass(bert, 1))
    gate.open()
    for (const { request_id } of [large, small]) {
      expect(await server.call('retrieveFuture', { body: { request_id } })).toHaveProperty('metrics')
    }
  })

  it('makes room by memory too', async () => {
    const server = await start({ adapterMemory: 2 ** 20 })
    // A fake adapter of rank 4 has 4096 parameters, and 16 bytes for each.
    const runs = await newRuns(server, 20)
    expect((await engineOf(server).status()).adapters).toBeLessThanOrEqual(17)
    for (const run of runs) expect(await server.result('forwardBackward', pass(run, 1))).toHaveProperty('metrics')
  })

  it('makes room when the engine has less of it than the configuration says', async () => {
    const server = await start({})
    const runs = await newRuns(server, 3)
    engineOf(server).failNext('createAdapter', engineError('OUT_OF_MEMORY', 'no memory for one more adapter'))
    engineOf(server).failNext('createAdapter', engineError('OUT_OF_MEMORY', 'no memory for one more adapter'))
    const session = await server.newSession()
    const last = await server.newModel(session)
    expect(await engineOf(server).status()).toMatchObject({ adapters: 2 })
    for (const run of [...runs, last]) {
      expect(await server.result('forwardBackward', pass(run, 1))).toHaveProperty('metrics')
    }
  })

  it('goes on when a restart point cannot be written: the journal has everything', async () => {
    const [wide, narrow] = [await start({}), await start({ liveAdapters: 1 })]
    const history = async (server: TestServer, failures: number) => {
      const [anna = '', bert = ''] = await newRuns(server, 2)
      await server.result('forwardBackward', pass(anna, 1))
      for (let i = 0; i < failures; i++) {
        engineOf(server).failNext('saveAdapter', engineError('STORAGE', 'the disk is full'))
      }
      await server.result('optimStep', step(anna, 2))
      for (const seq of [1, 2, 3]) await server.result('forwardBackward', pass(bert, seq))
      await server.result('forwardBackward', pass(anna, 3))
      return saved(server, [anna, bert], 4)
    }
    // The first one fails after the step; the second one when Bert needs the place.
    expect(await history(narrow, 2)).toEqual(await history(wide, 1))
  })

  it('goes on after a restart and after the death of the engine', async () => {
    const [wide, narrow] = [await start({}), await start({ liveAdapters: 2 })]
    const history = async (server: TestServer) => {
      const runs = await newRuns(server, 4)
      for (const run of runs) await server.result('forwardBackward', pass(run, 1))
      for (const run of runs) await server.result('optimStep', step(run, 2))
      engineOf(server).crash()
      for (const run of runs) await server.result('forwardBackward', pass(run, 3))
      await server.restart()
      for (const run of runs) await server.result('optimStep', step(run, 4))
      return saved(server, runs, 5)
    }
    expect(await history(narrow)).toEqual(await history(wide))
  })
})

describe('an operation that fails halfway', () => {
  const full = engineError('STORAGE', 'the disk is full')

  it('leaves a run as it was, where it was to get other weights', async () => {
    const [spared, hit] = [await start({}), await start({})]
    const history = async (server: TestServer, isHit: boolean) => {
      const [run = ''] = await newRuns(server, 1)
      await server.result('forwardBackward', pass(run, 1))
      await server.result('optimStep', step(run, 2))
      const path = (await server.result('saveWeights', { body: { model_id: run, seq_id: 3, path: 'a' } })).path
      await server.result('forwardBackward', pass(run, 4))
      await server.result('optimStep', step(run, 5))
      await server.result('forwardBackward', pass(run, 6))
      if (isHit) {
        // After the weights are in the engine, before anything says so.
        engineOf(server).failNext('saveAdapter', full)
        const load = { body: { model_id: run, seq_id: 7, path } }
        expect(await server.result('loadWeights', load)).toMatchObject({ code: 'STORAGE' })
      } else await server.result('forward', { body: forwardOf(run, 7) })
      await server.result('optimStep', step(run, 8))
      return saved(server, [run], 9)
    }
    expect(await history(hit, true)).toEqual(await history(spared, false))
  })

  it('keeps no place, where a run was to be made', async () => {
    const server = await start({})
    const [run = ''] = await newRuns(server, 1)
    const path = await server.save(run, 'a')
    const session_id = await server.newSession()
    engineOf(server).failNext('saveAdapter', full)
    const made = await server.result('loadWeights', { body: { session_id, model_seq_id: 0, path } })
    expect(made).toMatchObject({ code: 'STORAGE' })
    expect(await engineOf(server).status()).toMatchObject({ adapters: 1 })
  })
})

/** Folders of a kind below the state directory, of whatever run. */
function folders(server: TestServer, kind: string): string[] {
  const root = join(server.stateDir, 'checkpoints')
  return readdirSync(root).flatMap((run) => {
    const kinds = readdirSync(join(root, run))
    return kinds.includes(kind) ? readdirSync(join(root, run, kind)) : []
  })
}

it('sessions that expire leave nothing behind: no adapter, no file, no run that is live', async () => {
  const server = await start({ liveAdapters: 3, sessionTimeoutSeconds: 5 })
  const sessions: string[] = []
  const beats = setInterval(() => {
    for (const session_id of sessions) void server.send('sessionHeartbeat', { body: { session_id } })
  }, 1000)
  const open = async () => {
    const session = await server.newSession()
    sessions.push(session)
    const run = await server.newModel(session)
    await server.call('forwardBackward', pass(run, 1))
    const { request_id } = await server.call('optimStep', step(run, 2))
    await server.call('retrieveFuture', { body: { request_id } })
    await server.result('saveWeightsForSampler', { body: { model_id: run, seq_id: 3, sampling_session_seq_id: 0 } })
    // A number that never comes.
    await server.call('optimStep', step(run, 9))
  }
  await Promise.all(Array.from({ length: 20 }, open))
  clearInterval(beats)
  await expect.poll(async () => (await engineOf(server).status()).adapters, { timeout: 20_000 }).toBe(0)
  const db = await openDatabase(server.place)
  const live = () => db.selectFrom('runs').select('id').where('state', 'in', ['creating', 'ready']).execute()
  await expect.poll(live, { timeout: 20_000 }).toEqual([])
  const ended = () => db.selectFrom('operations').select('id').where('finished_at', 'is', null).execute()
  await expect.poll(ended, { timeout: 20_000 }).toEqual([])
  await db.destroy()
  await expect.poll(() => folders(server, 'restart'), { timeout: 20_000 }).toEqual([])
  await expect.poll(() => folders(server, 'ephemeral'), { timeout: 20_000 }).toEqual([])
  const metrics = await (await server.send('metrics')).text()
  expect(metrics).toMatch(/^twinkle_futures_pending 0$/m)
  expect(metrics).toMatch(/^twinkle_training_waiting 0$/m)
})
