// What can be seen of a running server from outside, and by whom.

import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { Keys } from '../services/keys.ts'
import { TenantRecords } from '../services/tenant-records.ts'
import { openDatabase } from '../store/database.ts'
import { type Json, TestServer } from '../testing/test-server.ts'

let server: TestServer
beforeEach(() => {
  server = new TestServer()
})
afterEach(() => server.stop())

/** Some work: a run with a step, and a sample from it. Gives the ids. */
async function work(key?: string) {
  const sent = key ? { key } : {}
  const session_id = await server.newSession({}, key)
  const model_id = await server.newModel(session_id, {}, key)
  const prompt = { chunks: [{ tokens: [1, 2, 3] }] }
  const target_tokens = { data: [2, 3, 4], dtype: 'int64' }
  const input = { data: [{ model_input: prompt, loss_fn_inputs: { target_tokens } }], loss_fn: 'cross_entropy' }
  await server.result('forwardBackward', { ...sent, body: { model_id, seq_id: 1, forward_backward_input: input } })
  await server.result('optimStep', { ...sent, body: { model_id, seq_id: 2 } })
  const { sampling_session_id } = await server.call('createSamplingSession', {
    ...sent,
    body: { session_id, sampling_session_seq_id: 0, base_model: 'org/tiny' },
  })
  const sampling = { sampling_session_id, seq_id: 0, prompt, num_samples: 2, sampling_params: { max_tokens: 4 } }
  await server.result('asample', { ...sent, body: sampling })
  return { model_id, sampling_session_id }
}

async function keys(...roles: ('member' | 'admin')[]): Promise<string[]> {
  const db = await openDatabase(server.place)
  const made = []
  for (const [i, role] of roles.entries()) {
    const { id: tenant } = await new TenantRecords(db).findOrCreate(`tenant-${i}`)
    made.push(await new Keys(db).create({ tenant, label: '', role, expiresAt: null }, 'operator'))
  }
  await db.destroy()
  return made.map(({ key }) => key)
}

const metrics = async (headers: Record<string, string> = {}) =>
  (await fetch(`${server.url}/metrics`, { headers })).text()

describe('status', () => {
  it('shows runs with step and loss, samplers, and what the engines do', async () => {
    await server.start()
    const { model_id, sampling_session_id } = await work()
    const status = await server.call('status')
    expect(status.scope).toBe('all')
    expect(status.runs).toMatchObject([{ id: model_id, rank: 4, step: 1, base_model: 'org/tiny' }])
    expect(status.runs[0].loss).toBeGreaterThan(0)
    expect(status.samplers).toMatchObject([{ id: sampling_session_id, sequences: 2, path: null }])
    expect(status.models).toMatchObject([{ name: 'org/tiny', engine: 'open' }])
    expect(status.models[0].lines.map(({ kind }: Json) => kind).sort()).toEqual(['sampling', 'training'])
    expect(status.operations).toEqual([])
  })

  it('shows a member its own tenant, and an admin all', async () => {
    await server.start()
    const [anna = '', bert = '', admin = ''] = await keys('member', 'member', 'admin')
    const { model_id } = await work(anna)
    expect((await server.call('status', { key: anna })).runs).toMatchObject([{ id: model_id }])
    expect(await server.call('status', { key: bert })).toMatchObject({ scope: 'own', runs: [], samplers: [] })
    const all = await server.call('status', { key: admin })
    expect(all).toMatchObject({ scope: 'all', runs: [{ id: model_id }] })
    expect(all.samplers.length).toBe(1)
  })
})

describe('metrics', () => {
  it('count operations by kind with their times, batches and tokens', async () => {
    await server.start()
    await work()
    const text = await metrics({ 'x-api-key': 'tml-anybody' })
    for (const line of [
      /^twinkle_operations_submitted_total\{kind="forward_backward"\} 1$/m,
      /^twinkle_operation_duration_seconds_count\{kind="optim_step",outcome="done"\} 1$/m,
      /^twinkle_operation_wait_seconds_count\{kind="sample"\} 1$/m,
      /^twinkle_batch_operations_count\{kind="forward_backward"\} 1$/m,
      /^twinkle_tokens_total\{tenant="\w+",kind="training"\} 3$/m,
      /^twinkle_tokens_total\{tenant="\w+",kind="sampling_sample"\} \d+$/m,
      /^twinkle_engine_losses\{model="org\/tiny"\} 0$/m,
      /^twinkle_state_bytes\{part="database"\} \d{4,}$/m,
    ]) {
      expect(text).toMatch(line)
    }
  })

  it('name tenants to an admin only, who may be a scraper with a bearer token', async () => {
    await server.start()
    const [anna = '', admin = ''] = await keys('member', 'admin')
    await work(anna)
    for (const headers of [{}, { 'x-api-key': anna }, { authorization: 'Bearer nonsense' }]) {
      const text = await metrics(headers as Record<string, string>)
      expect(text).toContain('twinkle_operations_submitted_total')
      expect(text).not.toContain('tenant=')
    }
    expect(await metrics({ authorization: `Bearer ${admin}` })).toContain('twinkle_tokens_total{tenant=')
    expect(await metrics({ 'x-api-key': admin })).toContain('twinkle_tokens_total{tenant=')
  })
})

it('health of a server that works is ok', async () => {
  await server.start()
  expect(await server.call('health')).toEqual({ status: 'ok', problems: [] })
})
