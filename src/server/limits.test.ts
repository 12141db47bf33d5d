// What a tenant that is at a limit hears, over HTTP: a refusal that says what to do, and afterwards everything works again.

import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, describe, expect, it } from 'vitest'
import { NO_LIMITS, type TenantLimits } from './services/limits.ts'
import { type Json, TestServer } from './testing/test-server.ts'

let server: TestServer
async function start(limits: Partial<TenantLimits>) {
  server = new TestServer({ limits: { ...NO_LIMITS, ...limits } })
  await server.start()
}
afterEach(() => server.stop())

const create = (session_id: string, model_seq_id: number) => ({
  body: { session_id, model_seq_id, base_model: 'org/tiny', lora_config: { rank: 4 } },
})

describe('runs', () => {
  it('over the limit are refused with the way out, whichever way they are asked for, and taken when there is room', async () => {
    await start({ adapters: 2 })
    const session = await server.newSession()
    const run = await server.newModel(session)
    const path = await server.save(run, 'a')
    await server.newModel(session, { model_seq_id: 1 })
    const { detail, code } = await server.call('createModel', create(session, 2), 403)
    expect(code).toBe('ADAPTERS_FULL')
    expect(detail).toMatch(/has 2 runs that are not unloaded, and may have 2.*unload_model/)
    const resume = { session_id: session, model_seq_id: 2, path }
    expect((await server.call('loadWeights', { body: resume }, 403)).code).toBe('ADAPTERS_FULL')
    // The same request again makes no run: it is the first one's answer.
    expect((await server.result('createModel', create(session, 1))).model_id).toBe(`${session}:train:1`)
    // Others have a limit of their own.
    await server.newModel(await server.newSession({}, 'tml-bert'), {}, 'tml-bert')
    await server.result('unloadModel', { body: { model_id: run } })
    expect((await server.result('createModel', create(session, 2))).model_id).toBe(`${session}:train:2`)
  })

  it('that come at once are not more than the limit', async () => {
    await start({ adapters: 2 })
    const session = await server.newSession()
    const answers = await Promise.all([0, 1, 2, 3, 4].map((seq) => server.send('createModel', create(session, seq))))
    expect(answers.map(({ status }) => status).sort()).toEqual([200, 200, 403, 403, 403])
  })
})

/** Folders with weights below the state directory. */
const folders = (kind: string) =>
  readdirSync(join(server.stateDir, 'checkpoints')).flatMap((run) =>
    readdirSync(join(server.stateDir, 'checkpoints', run))
      .filter((name) => name === kind)
      .flatMap((name) => readdirSync(join(server.stateDir, 'checkpoints', run, name))),
  )

describe('storage', () => {
  /** Bytes of a checkpoint with and without the optimiser. */
  async function sizes() {
    await start({})
    const run = await server.newModel(await server.newSession())
    await server.save(run, 'a')
    await server.saveForSampler(run, 'a')
    const { checkpoints } = await server.call('listUserCheckpoints')
    await server.stop()
    const bytesOf = (type: string) => checkpoints.find((c: Json) => c.checkpoint_type === type).size_bytes
    return { weights: bytesOf('training'), sampler: bytesOf('sampler') }
  }

  it('over the limit fails the save through its future, leaves no files, and has room again after a deletion', async () => {
    const { weights } = await sizes()
    await start({ storageBytes: Math.floor(1.5 * weights) })
    const run = await server.newModel(await server.newSession())
    await server.save(run, 'a')
    const save = (id: 'saveWeights' | 'saveWeightsExternal', seq_id: number, more = {}) =>
      server.result(id, { body: { model_id: run, path: 'b', seq_id, ...more } })
    const refused = await save('saveWeights', 1)
    expect(refused).toMatchObject({ category: 'user', code: 'STORAGE_FULL' })
    expect(refused.error).toMatch(/take \d+ bytes; with \d+ more.*Delete checkpoints/)
    expect(folders('weights')).toHaveLength(1)
    // What replaces one of the same size fits, and the number of the refused save was used.
    expect(await save('saveWeights', 2, { path: 'a', overwrite: true })).toMatchObject({ path: expect.any(String) })
    await server.call('deleteCheckpoint', { params: { run, kind: 'weights', name: 'a' } })
    expect(await save('saveWeightsExternal', 3)).toMatchObject({ path: expect.any(String) })
  })

  it('counts copies of published checkpoints of others, and samplers without a name', async () => {
    const { weights, sampler } = await sizes()
    await start({ storageBytes: weights + Math.floor(1.5 * sampler) })
    const run = await server.newModel(await server.newSession())
    const path = await server.save(run, 'a')
    const published = { run, kind: 'weights', name: 'a' }
    await server.send('publishCheckpoint', { params: published })
    const key = 'tml-bert'
    const session = await server.newSession({}, key)
    const bertsRun = await server.newModel(session, {}, key)
    const ephemeral = (seq: number) =>
      server.result('saveWeightsForSampler', {
        key,
        body: { model_id: bertsRun, seq_id: seq, sampling_session_seq_id: seq },
      })
    expect(await ephemeral(1)).toMatchObject({ sampling_session_id: expect.any(String) })
    const copy = { key, body: { source_path: path, destination_project_id: 'p' } }
    await server.call('copyWeights', copy)
    expect((await server.call('copyWeights', copy, 403)).code).toBe('STORAGE_FULL')
    expect(await ephemeral(2)).toMatchObject({ code: 'STORAGE_FULL' })
    // Samplers go with their session.
    await server.call('finishSession', { key, params: { session_id: session }, body: { reason: { type: 'success' } } })
    const next = await server.newModel(await server.newSession({}, key), {}, key)
    const again = { model_id: next, seq_id: 1, sampling_session_seq_id: 1 }
    expect(await server.result('saveWeightsForSampler', { key, body: again })).toMatchObject({
      sampling_session_id: expect.any(String),
    })
  })
})

describe('bytes of calls that have not ended', () => {
  const tokens = (count: number) => Array.from({ length: count }, (_, i) => i)
  const pass = (model_id: string, seq_id: number, count = 400) => {
    const model_input = { chunks: [{ tokens: tokens(count) }] }
    const loss_fn_inputs = { target_tokens: { data: tokens(count), dtype: 'int64', shape: [count] } }
    const forward_backward_input = { data: [{ model_input, loss_fn_inputs }], loss_fn: 'cross_entropy' }
    return { body: { model_id, seq_id, forward_backward_input } }
  }

  /** Passes from a number on, until one is refused. */
  async function fill(run: string, from: number): Promise<{ accepted: string[]; refused: Response }> {
    const accepted: string[] = []
    for (let seq = from; ; seq++) {
      const answer = await server.send('forwardBackward', pass(run, seq))
      if (answer.status !== 200) return { accepted, refused: answer }
      const { request_id } = (await answer.json()) as Json
      accepted.push(request_id)
    }
  }

  it('over the limit are asked to come again, until results make room', async () => {
    await start({ queuedBytes: 10_000 })
    const run = await server.newModel(await server.newSession())
    const bert = await server.newModel(await server.newSession({}, 'tml-bert'), {}, 'tml-bert')
    const gate = server.backend.engines[0]!.block('train')
    const { accepted, refused } = await fill(run, 1)
    expect(accepted.length).toBeGreaterThan(1)
    expect([refused.status, refused.headers.get('retry-after')]).toEqual([429, '1'])
    expect(await refused.json()).toMatchObject({ code: 'QUEUE_FULL' })
    // Others have their own.
    await server.call('forwardBackward', { ...pass(bert, 1), key: 'tml-bert' })
    gate.open()
    for (const request_id of accepted) await server.call('retrieveFuture', { body: { request_id } })
    // A refusal of this kind takes no number: the same request comes again.
    expect(await server.result('forwardBackward', pass(run, accepted.length + 1))).toHaveProperty('metrics')
  })

  it('never keep out the number that the others wait for', async () => {
    await start({ queuedBytes: 10_000 })
    const run = await server.newModel(await server.newSession())
    const { accepted } = await fill(run, 2)
    const first = await server.call('forwardBackward', pass(run, 1))
    for (const request_id of [...accepted, first.request_id]) {
      expect(await server.call('retrieveFuture', { body: { request_id } })).toHaveProperty('metrics')
    }
  })

  it('are counted again after a restart, and one call alone may be as large as a body', async () => {
    await start({ queuedBytes: 2000 })
    const session = await server.newSession()
    const run = await server.newModel(session)
    await server.newModel(session, { model_seq_id: 1 })
    // Number 2 waits for number 1, also over the restart.
    const { request_id } = await server.call('forwardBackward', pass(run, 2))
    await server.restart()
    expect((await server.call('forwardBackward', pass(run, 3), 429)).code).toBe('QUEUE_FULL')
    await server.result('forwardBackward', pass(run, 1))
    await server.call('retrieveFuture', { body: { request_id } })
    expect(await server.result('forwardBackward', pass(run, 3))).toHaveProperty('metrics')
  })
})
