// What Twinkle's own clients were recorded to send to processor routes (openapi/goldens/twinkle), sent once more, object by
// object. The recorded answers were a stub's; ours are held against what the client requires of them.

import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, expect, it } from 'vitest'
import { EMBEDDED_MODEL } from '../config-fields.ts'
import { type Json, TestServer } from '../testing/test-server.ts'

interface Exchange {
  readonly request: { readonly path: string; readonly body: Json; readonly headers: Record<string, string> | string }
  readonly response: { readonly status: number; readonly body: Json }
}

const GOLDENS = new URL('../../../openapi/goldens/twinkle/', import.meta.url)
const recorded = (name: string): Exchange[] => JSON.parse(readFileSync(new URL(name, GOLDENS), 'utf8')).exchanges

/** Calls that we refuse, where the stub knew no better: a filter that is not there, images, packing without a template. */
const REFUSED: Readonly<Record<string, string>> = {
  filter: 'UNKNOWN_NAME',
  cast_column: 'UNSUPPORTED_NAME',
  pack_dataset: 'INVALID_ARGUMENT',
}

const folders: string[] = []
const servers: TestServer[] = []
afterEach(async () => {
  for (const server of servers.splice(0)) await server.stop()
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true })
})

async function serverWithData(): Promise<TestServer> {
  const dataDir = mkdtempSync(join(tmpdir(), 'twinkle-data-'))
  folders.push(dataDir)
  const write = (folder: string, name: string, row: object) => {
    mkdirSync(join(dataDir, folder))
    writeFileSync(join(dataDir, folder, `${name}.jsonl`), `${JSON.stringify(row)}\n`.repeat(3))
  }
  write('swift', 'self-cognition', { query: 'Who?', response: '{{NAME}}' })
  // Added after the other one was encoded, and loaded together with it.
  write('x', 'y', { input_ids: [1, 2], labels: [2, -100] })
  const server = new TestServer({ dataDir, models: [{ name: 'tiny/tiny-llm', path: EMBEDDED_MODEL.path }] })
  servers.push(server)
  await server.start()
  return server
}

it.each([
  ['native-0.5.1-processor.json', '/api/v1/processor/'],
  ['native-0.0.1-seed-era.json', '/processors/'],
])('%s', async (name, prefix) => {
  const server = await serverWithData()
  const exchanges = recorded(name).filter(({ request }) => request.path.startsWith(prefix))
  const [first] = exchanges
  const session = (await server.call('twinkleCreateSession', { key: 'EMPTY_TOKEN', body: {} })).session_id
  const headers = { ...(first?.request.headers as Record<string, string>) }
  if ('X-Twinkle-Session-Id' in headers) headers['X-Twinkle-Session-Id'] = session
  const ours = new Map<string, string>()
  const send = async ({ path, body }: Exchange['request']) => {
    const text = [...ours].reduce((text, [theirs, own]) => text.replaceAll(theirs, own), JSON.stringify(body))
    const answer = await fetch(`${server.url}${path}`, {
      method: 'POST',
      headers: { ...headers, 'Content-Type': 'application/json', 'Twinkle-Authorization': 'Bearer EMPTY_TOKEN' },
      body: text,
    })
    return { status: answer.status, json: (await answer.json()) as Json }
  }
  for (const { request, response } of exchanges) {
    const { function: called } = request.body
    let answer = await send(request)
    // Our data set is longer than the stub's: a loop goes on to its end.
    if (response.status === 410) while (answer.status === 200) answer = await send(request)
    const refusal = REFUSED[called]
    expect({ called, ...answer }).toMatchObject(
      refusal ? { status: 400, json: { code: refusal } } : { status: response.status },
    )
    if (response.body.processor_id) ours.set(response.body.processor_id, answer.json.processor_id)
    if (answer.status === 200 && called) expect(answer.json).toHaveProperty('result')
    if (called === '__next__' && answer.status === 200) {
      expect(answer.json.result[0]).toMatchObject({ input_ids: expect.any(Array), labels: expect.any(Array) })
    }
    if (called === '__len__') expect(answer.json.result).toBeGreaterThan(0)
  }
  expect(ours.size).toBe(7)
})
