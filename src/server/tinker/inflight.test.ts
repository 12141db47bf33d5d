// Samplers in flight: later saves of the model move them on, and nobody else.

import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Json, TestServer } from '../testing/test-server.ts'

const server = new TestServer()
beforeAll(() => server.start())
afterAll(() => server.stop())

const target_tokens = { data: [2, 3], dtype: 'int64' }
const data = [{ model_input: { chunks: [{ tokens: [1, 2] }] }, loss_fn_inputs: { target_tokens } }]

/** A model that is trained, saved for sampling and sampled from. */
async function newRun() {
  const model_id = await server.newModel(await server.newSession())
  let [seq_id, sampler] = [0, 0]
  const train = async () => {
    const pass = { model_id, seq_id: ++seq_id, forward_backward_input: { data, loss_fn: 'cross_entropy' } }
    await server.result('forwardBackward', { body: pass })
    await server.result('optimStep', { body: { model_id, seq_id: ++seq_id, adam_params: { learning_rate: 0.5 } } })
  }
  const save = async (kind: string): Promise<string> => {
    const body = { model_id, seq_id: ++seq_id, kind, sampling_session_seq_id: sampler++ }
    return (await server.result('saveWeightsForSampler', { body })).sampling_session_id
  }
  return { model_id, train, save, seq: () => ++seq_id }
}

let drawn = 0
async function scores(sampling_session_id: string): Promise<Json> {
  const body = {
    sampling_session_id,
    seq_id: drawn++,
    prompt: { chunks: [{ tokens: [1, 2, 3] }] },
    sampling_params: { max_tokens: 2, temperature: 0 },
    prompt_logprobs: true,
  }
  return (await server.result('asample', { body })).prompt_logprobs
}

describe('a sampler in flight', () => {
  it('goes on to the weights of the next save in flight, also after a restart; snapshots stay', async () => {
    const run = await newRun()
    const other = await newRun()
    const snapshot = await run.save('snapshot')
    const first = await run.save('inflight')
    const elsewhere = await other.save('inflight')
    const before = await scores(first)
    expect(await scores(snapshot)).toEqual(before)
    await run.train()
    await run.save('snapshot')
    expect(await scores(first)).toEqual(before)
    const second = await run.save('inflight')
    const after = await scores(second)
    expect(after).not.toEqual(before)
    expect(await scores(first)).toEqual(after)
    expect(await scores(snapshot)).toEqual(before)
    expect(await scores(elsewhere)).toEqual(before)
    await server.restart()
    expect(await scores(first)).toEqual(after)
    expect(await scores(snapshot)).toEqual(before)
  })

  it('has no name: a checkpoint with one never changes', async () => {
    const run = await newRun()
    const body = { model_id: run.model_id, seq_id: run.seq(), kind: 'inflight', path: 'a' }
    expect((await server.call('saveWeightsForSampler', { body }, 400)).code).toBe('INFLIGHT_NAME')
    expect(await run.save('inflight')).toMatch(/:sample:0$/)
  })
})
