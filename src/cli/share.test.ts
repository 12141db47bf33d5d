import sinon from 'sinon'
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest'
import { TestServer } from '../server/testing/test-server.ts'
import { createProgram } from './program.ts'

const server = new TestServer()
let path: string
beforeAll(async () => {
  await server.start()
  const key = 'tml-local'
  const model_id = await server.newModel(await server.newSession({}, key), {}, key)
  path = (await server.result('saveWeights', { key, body: { model_id, path: 'a' } })).path
})
beforeAll(() => {
  process.env.TINKER_API_KEY = 'tml-local'
})
afterEach(() => sinon.restore())
afterAll(async () => {
  delete process.env.TINKER_API_KEY
  await server.stop()
})

async function share(...words: string[]): Promise<string> {
  const [out, error] = ['stdout', 'stderr'].map((name) =>
    sinon.stub(process[name as 'stdout' | 'stderr'], 'write').returns(true),
  )
  try {
    await createProgram().parseAsync(['adapters', 'share', ...words, '--url', server.url], { from: 'user' })
    return out!.args.map(([text]) => String(text)).join('')
  } finally {
    out!.restore()
    error!.restore()
  }
}

it('gives a token alone on stdout, which opens the checkpoint to another tenant', async () => {
  const token = (await share(path, '--for', '2h')).trim()
  expect(token).toMatch(/^eyJ[\w.-]+$/)
  const body = {
    session_id: await server.newSession({}, 'tml-bert'),
    model_seq_id: 0,
    path,
    weights_access_token: token,
  }
  const { request_id } = await server.call('loadWeights', { key: 'tml-bert', body })
  const loaded = await server.call('retrieveFuture', { key: 'tml-bert', body: { request_id } })
  expect(loaded.model_id).toMatch(/:train:0$/)
})

it('is JSON for machines, and repeats what the server refuses', async () => {
  const { token, expires } = JSON.parse(await share(path, '--json'))
  expect(token).toMatch(/^eyJ/)
  expect(Date.parse(expires) - Date.now()).toBeGreaterThan(80_000_000)
  await expect(share(`${path}x`)).rejects.toThrow(/no checkpoint/)
  await expect(share('a')).rejects.toThrow(/not a checkpoint path/)
})
