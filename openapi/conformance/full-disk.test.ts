// A disk that is full while a real server works. The files of its process may not become larger (RLIMIT_FSIZE, set from
// outside, as often as one likes): every write ends as it does where there is no room, and reading goes on. Linux only:
// prlimit changes the limits of a process that runs.

import { execFileSync, spawnSync } from 'node:child_process'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { EMBEDDED_MODEL } from '../../src/server/config-fields.ts'
import { RawClient } from './raw-client.ts'
import { type ServerProcess, startServerProcess } from './server-process.ts'

const KEY = 'tml-full-disk'
const TOKENS = Array.from({ length: 12 }, (_, i) => 20 + i)
const FLAGS = ['--hold-seconds', '1']

const canLimit = spawnSync('prlimit', ['--version']).status === 0
if (!canLimit) console.warn('NOT RUN, the tests of a full disk: there is no prlimit (util-linux) here.')

let server: ServerProcess
let client: RawClient

async function start(stateDir?: string): Promise<void> {
  server = await startServerProcess({ flags: FLAGS, ...(stateDir && { stateDir }) })
  client = new RawClient(server.url, KEY)
}
beforeEach(() => start())
afterEach(() => server.stop())

/** Only the soft limit: it can be taken back. */
const limit = (bytes: number | 'unlimited') =>
  execFileSync('prlimit', ['--pid', String(server.pid), `--fsize=${bytes}:`])
const diskFull = () => limit(0)
const diskHasRoom = () => limit('unlimited')

async function problems(): Promise<string[]> {
  const response = await fetch(`${server.url}/health`)
  const { problems: found } = (await response.json()) as { problems: { code: string }[] }
  return found.map(({ code }) => code)
}

describe.runIf(canLimit)('while the disk is full', { timeout: 120_000 }, () => {
  it('nothing new is acknowledged, nobody hears of what is not recorded, and both go on when there is room', async () => {
    const model = await client.model(EMBEDDED_MODEL.name)
    const acknowledged = [...(await model.submitStep(TOKENS)), ...(await model.submitStep(TOKENS))]
    diskFull()
    // Whatever of it was recorded before is answered; the rest waits.
    const polled = await Promise.all(acknowledged.map((id) => client.poll(id)))
    for (const { status, body } of polled) if (status !== 408) expect(body).toHaveProperty('metrics')
    const adam_params = { learning_rate: 0.01, beta1: 0.9, beta2: 0.95, eps: 1e-12, weight_decay: 0, grad_clip_norm: 0 }
    const late = { ...model.next(), adam_params }
    const refused = await client.post('optim_step', late)
    expect([refused.status, refused.body.code]).toEqual([503, 'STORAGE_FAILS'])
    expect(JSON.stringify(refused.body)).not.toContain(server.stateDir)
    expect(await problems()).toContain('STATE_NOT_WRITABLE')
    expect((await fetch(`${server.url}/healthz`)).status).toBe(200)

    diskHasRoom()
    const again = await client.post('optim_step', late)
    expect(again.status).toBe(200)
    const ends = await Promise.all([...acknowledged, String(again.body.request_id)].map((id) => client.result(id)))
    for (const { body } of ends) expect(body).toHaveProperty('metrics')
    expect(await model.loss()).toBeGreaterThan(0)
  })

  it('a server that is killed finds what it had acknowledged', async () => {
    const model = await client.model(EMBEDDED_MODEL.name)
    const ids = [...(await model.submitStep(TOKENS)), ...(await model.submitStep(TOKENS))]
    diskFull()
    await server.kill()
    await start(server.stateDir)
    model.client = client
    for (const { body } of await Promise.all(ids.map((id) => client.result(id)))) expect(body).toHaveProperty('metrics')
    expect(await model.loss()).toBeGreaterThan(0)
  })
})
