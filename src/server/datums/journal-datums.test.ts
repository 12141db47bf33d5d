import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { openDatabase } from '../store/database.ts'
import { TestServer } from '../testing/test-server.ts'
import { journalDatums } from './journal-datums.ts'

const server = new TestServer()
beforeAll(() => server.start())
afterAll(() => server.stop())

const inputs = {
  target_tokens: { data: [2, 3], dtype: 'int64' },
  logprobs: { data: [-1, -2], dtype: 'float32' },
  advantages: { data: [1, -1], dtype: 'float32' },
}
const data = [{ model_input: { chunks: [{ tokens: [1, 2] }] }, loss_fn_inputs: inputs }]

describe('an operation of the journal', () => {
  it('shows its datums and what the model answered, while the server works', async () => {
    const model_id = await server.newModel(await server.newSession())
    const body = { model_id, seq_id: 1, forward_backward_input: { data, loss_fn: 'importance_sampling' } }
    const { request_id } = await server.call('forwardBackward', { body })
    const { loss_fn_outputs } = await server.call('retrieveFuture', { body: { request_id } })
    const shown = await journalDatums(server.place, request_id)
    expect(shown).toMatchObject({ source: request_id, loss: 'importance_sampling', baseModel: 'org/tiny' })
    const [datum] = shown.datums
    expect(Array.from(datum!.tokens)).toEqual([1, 2])
    expect(Array.from(datum!.inputs.advantages!.values)).toEqual([1, -1])
    expect(await journalDatums(server.place, model_id)).toEqual(shown)
    expect(Array.from(datum!.computed!.values)).toEqual(loss_fn_outputs[0].logprobs.data.map(Math.fround))
  })

  it('is refused by name when it has no datums, is not there, or was forgotten', async () => {
    const model_id = await server.newModel(await server.newSession())
    const step = await server.call('optimStep', { body: { model_id, seq_id: 1 } })
    await expect(journalDatums(server.place, step.request_id)).rejects.toMatchObject({ code: 'NO_DATUMS' })
    await expect(journalDatums(server.place, 'req-none')).rejects.toMatchObject({ code: 'UNKNOWN_FUTURE' })
    await expect(journalDatums(server.place, 's:train:0')).rejects.toMatchObject({ code: 'UNKNOWN_MODEL_ID' })
    await expect(journalDatums({ database: 'sqlite', stateDir: '/nowhere' }, 'req-none')).rejects.toMatchObject({
      code: 'STORAGE',
    })
    const body = { model_id, seq_id: 2, forward_backward_input: { data, loss_fn: 'importance_sampling' } }
    const { request_id } = await server.call('forwardBackward', { body })
    await server.call('retrieveFuture', { body: { request_id } })
    const db = await openDatabase(server.place)
    await db.updateTable('operations').set({ payload: null }).where('id', '=', request_id).execute()
    await db.destroy()
    await expect(journalDatums(server.place, request_id)).rejects.toMatchObject({ code: 'CALL_EXPIRED' })
  })
})
