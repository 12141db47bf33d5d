// What time and accidents do to a client, over raw HTTP from the real server process: silence, long waits, an engine that is
// killed, and the server's own end. The rows C13, C67 and C71 of the protocol's table.

import { execFileSync } from 'node:child_process'
import { setTimeout as after } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { EMBEDDED_MODEL } from '../../src/server/config-fields.ts'
import { RawClient, type RawModel } from './raw-client.ts'
import { type ServerProcess, startServerProcess } from './server-process.ts'

const MODEL = EMBEDDED_MODEL.name
const HOLD_SECONDS = 2
/** The shortest that can be configured. */
const TIMEOUT_SECONDS = 30

let server: ServerProcess
let client: RawClient

beforeAll(async () => {
  const flags = ['--hold-seconds', String(HOLD_SECONDS), '--session-timeout-seconds', String(TIMEOUT_SECONDS)]
  server = await startServerProcess({ flags })
  client = new RawClient(server.url, 'tml-lifecycle')
})
afterAll(() => server.stop())

/** A request whose turn cannot come: the number before it is never sent. */
async function waiting(model: RawModel): Promise<string> {
  model.next()
  const { body } = await client.post('optim_step', { ...model.next(), adam_params: {} })
  return String(body.request_id)
}

describe.concurrent('a session', () => {
  it('that falls silent is over, with its models; one that sends heartbeats goes on', { timeout: 90_000 }, async () => {
    const [silent, beating] = await Promise.all([client.session(), client.session()])
    const [lost, kept] = await Promise.all([client.model(MODEL, silent), client.model(MODEL, beating)])
    for (let elapsed = 0; elapsed < TIMEOUT_SECONDS + 5; elapsed += 5) {
      await after(5000)
      expect(await client.post('session_heartbeat', { session_id: beating })).toMatchObject({ status: 200 })
    }
    expect(await client.post('session_heartbeat', { session_id: silent })).toMatchObject({ status: 410 })
    const refused = await client.post('optim_step', { ...lost.next(), adam_params: {} })
    expect([refused.status, refused.body.detail]).toEqual([410, expect.stringContaining(silent)])
    expect(await kept.loss()).toBeGreaterThan(0)
  })

  it('that waits for a result is held, told that it is queued, and asked to come again', async () => {
    const id = await waiting(await client.model(MODEL))
    const started = performance.now()
    const { status, body } = await client.result(id)
    expect([status, body.queue_state]).toEqual([408, 'active'])
    expect(performance.now() - started).toBeGreaterThan(HOLD_SECONDS * 900)
  })
})

describe('an engine that is killed', () => {
  it('fails what it had as the server’s fault, and is soon there again for new work', async () => {
    const model = await client.model(MODEL)
    const session_id = await client.session()
    const request = { base_model: MODEL, num_samples: 64, sampling_params: { max_tokens: 500, stop: [] } }
    const prompt = { chunks: [{ type: 'encoded_text', tokens: [20] }] }
    const { body } = await client.post('asample', { ...request, prompt, session_id })
    process.kill(engineOf(server.pid), 'SIGKILL')
    const { status, body: result } = await client.result(String(body.request_id))
    expect({ status, ...result }).toMatchObject({ status: 200, category: 'server', code: 'ENGINE_LOST' })
    await expect(model.loss()).rejects.toThrow(/gone|engine/i)
    const fresh = await vi.waitFor(() => client.model(MODEL), { timeout: 15_000, interval: 200 })
    expect(await fresh.loss()).toBeGreaterThan(0)
  })
})

describe('SIGTERM', () => {
  it('ends held polls at once and the process with exit code 0', async () => {
    const other = await startServerProcess()
    const its = new RawClient(other.url, 'tml-lifecycle')
    const model = await its.model(MODEL)
    model.next()
    const { body } = await its.post('optim_step', { ...model.next(), adam_params: {} })
    const held = its.result(String(body.request_id)).catch((error: Error) => error)
    await after(100)
    const started = performance.now()
    expect(await other.stop()).toBe(0)
    await held
    expect(performance.now() - started).toBeLessThan(5000)
  })
})

function engineOf(pid: number): number {
  const children = execFileSync('ps', ['-o', 'pid=', '--ppid', String(pid)], { encoding: 'utf8' })
  return Number(children.trim().split(/\s+/)[0])
}
