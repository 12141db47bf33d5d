// What time and accidents do to a client, over raw HTTP from the real server process: silence, long waits, an engine or a
// server that is killed, and an orderly end. The rows C13, C67 and C68 of the protocol's table.

import { execFileSync } from 'node:child_process'
import { setTimeout as after } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { EMBEDDED_MODEL } from '../../src/server/config-fields.ts'
import { RawClient, type RawModel } from './raw-client.ts'
import { type ServerProcess, startServerProcess } from './server-process.ts'

const MODEL = EMBEDDED_MODEL.name
const KEY = 'tml-lifecycle'
const HOLD_SECONDS = 2
/** The shortest that can be configured. */
const TIMEOUT_SECONDS = 30

let server: ServerProcess
let client: RawClient

beforeAll(async () => {
  const flags = ['--hold-seconds', String(HOLD_SECONDS), '--session-timeout-seconds', String(TIMEOUT_SECONDS)]
  server = await startServerProcess({ flags })
  client = new RawClient(server.url, KEY)
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
    const { status, body } = await client.poll(id)
    expect([status, body.queue_state]).toEqual([408, 'active'])
    expect(performance.now() - started).toBeGreaterThan(HOLD_SECONDS * 900)
  })
})

describe('training goes on as if nothing had happened', () => {
  const STEPS = [0, 1, 2, 3].map((step) => Array.from({ length: 12 }, (_, i) => 20 + ((7 * step + i * i) % 400)))
  let undisturbed: number[]

  /** Submits all steps, with the accident in between; the loss of each, and of one more pass. */
  async function losses(model: RawModel, accident: () => Promise<void>): Promise<number[]> {
    const early = [...(await model.submitStep(STEPS[0]!)), ...(await model.submitStep(STEPS[1]!))]
    await accident()
    const late = [...(await model.submitStep(STEPS[2]!)), ...(await model.submitStep(STEPS[3]!))]
    const results = await Promise.all([...early, ...late].map((id) => model.client.result(id)))
    const passes = results.filter((_, i) => i % 2 === 0)
    return [
      ...passes.map(({ body }) => (body.metrics as Record<string, number>)['loss:sum'] as number),
      await model.loss(),
    ]
  }

  beforeAll(async () => {
    undisturbed = await losses(await client.model(MODEL), async () => {})
  })

  it('after its engine was killed', async () => {
    const model = await client.model(MODEL)
    expect(await losses(model, async () => void process.kill(engineOf(server.pid), 'SIGKILL'))).toEqual(undisturbed)
  })

  it('after the server was killed and started again on the same state', async () => {
    const first = await startServerProcess({ keys: [KEY] })
    const model = await new RawClient(first.url, KEY).model(MODEL)
    let second: ServerProcess | undefined
    const accident = async () => {
      await first.kill()
      second = await startServerProcess({ keys: [KEY], stateDir: first.stateDir })
      model.client = new RawClient(second.url, KEY)
    }
    expect(await losses(model, accident)).toEqual(undisturbed)
    await second?.stop()
  })
})

describe('SIGTERM', () => {
  it('ends held polls at once and the process with exit code 0', async () => {
    const other = await startServerProcess()
    const its = new RawClient(other.url, KEY)
    const model = await its.model(MODEL)
    model.next()
    const { body } = await its.post('optim_step', { ...model.next(), adam_params: {} })
    const held = its.poll(String(body.request_id)).catch((error: Error) => error)
    await after(100)
    const started = performance.now()
    expect(await other.stop()).toBe(0)
    await held
    expect(performance.now() - started).toBeLessThan(15_000)
  })
})

function engineOf(pid: number): number {
  const children = execFileSync('ps', ['-o', 'pid=', '--ppid', String(pid)], { encoding: 'utf8' })
  return Number(children.trim().split(/\s+/)[0])
}
