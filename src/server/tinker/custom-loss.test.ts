// Custom losses of the server are refused by name, with the way that works; a refused pass uses up its number.

import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { TestServer } from '../testing/test-server.ts'

const server = new TestServer()
beforeAll(() => server.start())
afterAll(() => server.stop())

const data = [
  {
    model_input: { chunks: [{ tokens: [1, 2] }] },
    loss_fn_inputs: { target_tokens: { data: [2, 3], dtype: 'int64' } },
  },
]
const pass = (model_id: string, seq_id: number, loss: object) => ({
  body: { model_id, seq_id, forward_backward_input: { data, ...loss } },
})

describe('a custom loss', () => {
  it('is refused when it is registered, with the next step', async () => {
    const session_id = await server.newSession()
    const graph = { format: 1, nodes: [{ op: 'output', name: 'output', target: 'output', args: [], kwargs: {} }] }
    const inputs = [{ name: 'logprobs', rank: 1 }]
    const sent = { body: { session_id, custom_loss_seq_id: 0, name: 'neg_ll', inputs, graph } }
    const refusal = await server.call('createCustomLoss', sent, 400)
    expect(refusal.code).toBe('CUSTOM_LOSS')
    for (const word of ['neg_ll', 'forward_backward_custom', 'cross_entropy']) expect(refusal.detail).toContain(word)
  })

  it('is refused in a pass by its loss_id, and the next number goes on', async () => {
    const model_id = await server.newModel(await server.newSession())
    const custom = pass(model_id, 1, { loss_fn: 'custom', loss_fn_config: { loss_id: 'loss-7' } })
    const refusal = await server.call('forwardBackward', custom, 400)
    expect(refusal).toMatchObject({ code: 'CUSTOM_LOSS', detail: expect.stringContaining('loss-7') })
    const next = pass(model_id, 2, { loss_fn: 'cross_entropy' })
    expect((await server.result('forwardBackward', next)).metrics).toHaveProperty('loss:sum')
  })

  it('is not announced to clients, which then run it themselves', async () => {
    const flags = await server.call('clientConfig', { body: { sdk_version: '0.38.0' } })
    expect(flags.custom_loss_server_side ?? false).toBe(false)
  })
})
