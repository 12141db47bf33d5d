// What a client hears while its request waits, over the real wire: row C72 of the protocol's table.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { EMBEDDED_MODEL } from '../../src/server/config-fields.ts'
import { RawClient } from './raw-client.ts'
import { pythonEnv, SdkRun } from './sdk-run.ts'
import { type ServerProcess, startServerProcess } from './server-process.ts'

const folder = mkdtempSync(join(tmpdir(), 'twinkle-limits-'))
const config = join(folder, 'twinkle.yaml')
const python = await pythonEnv('sdk-0.38.0')
let server: ServerProcess

beforeAll(async () => {
  writeFileSync(config, 'limits:\n  sampling_tokens_per_minute: 6000\n  training_tokens_per_minute: 6000\n')
  server = await startServerProcess({ flags: ['--config', config, '--hold-seconds', '1'] })
})
afterAll(async () => {
  await server.stop()
  rmSync(folder, { recursive: true })
})

describe('a request that is over a limit of its tenant', () => {
  it('says so in the pending answer, with the time to go', { timeout: 90_000 }, async () => {
    const client = new RawClient(server.url, 'tml-limited')
    const model = await client.model(EMBEDDED_MODEL.name)
    const tokens = Array.from({ length: 450 }, (_, i) => 20 + (i % 300))
    const datum = {
      model_input: { chunks: [{ type: 'encoded_text', tokens }] },
      loss_fn_inputs: { target_tokens: { data: tokens, dtype: 'int64', shape: [tokens.length] } },
    }
    const pass = async (datums: number) => {
      const input = { data: Array(datums).fill(datum), loss_fn: 'cross_entropy' }
      const { body } = await client.post('forward_backward', { ...model.next(), forward_backward_input: input })
      return String(body.request_id)
    }
    // More than a minute's worth goes when nothing was used before, and has to be paid back.
    expect((await client.result(await pass(30))).status).toBe(200)
    const { status, body } = await client.poll(await pass(1))
    expect(status).toBe(408)
    expect(body).toMatchObject({
      queue_state: 'paused_rate_limit',
      queue_state_reason: expect.stringMatching(/^over its limit of 6000 training tokens a minute; about \d+ s to go$/),
      position: 0,
      estimate_ms: expect.any(Number),
    })
  })

  it.skipIf(!python)(
    'is one warning a minute in the log of the SDK, with the reason',
    { timeout: 120_000 },
    async () => {
      const run = await SdkRun.start({ version: '0.38.0', python: python as string }, server, ['C72'])
      try {
        const result = await run.result('C72')
        expect(result.error ?? 'no error').toBe('no error')
      } finally {
        await run.stop()
      }
    },
  )
})
