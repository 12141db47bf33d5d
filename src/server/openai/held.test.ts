// What a request is that waits on its connection: limits, the ledger, the loss of an engine and the end of the server are for
// it what they are for every sample.

import OpenAI from 'openai'
import { afterEach, describe, expect, it } from 'vitest'
import { NO_LIMITS, type TenantLimits } from '../services/limits.ts'
import { ScriptedServer } from './testing/scripted-server.ts'

let scripted: ScriptedServer
let client: OpenAI
async function start(limits: Partial<TenantLimits> = {}) {
  scripted = new ScriptedServer({ limits: { ...NO_LIMITS, ...limits } })
  await scripted.start()
  client = scripted.client()
  scripted.say('one two three')
}
let isStopped = false
afterEach(async () => {
  if (!isStopped) await scripted.stop()
  isStopped = false
})

const ASK = { model: 'org/tiny', messages: [{ role: 'user' as const, content: 'Hi' }], max_tokens: 200 }
const whole = () => client.chat.completions.create(ASK)
const stream = () => client.chat.completions.create({ ...ASK, stream: true })

async function textOf(chunks: AsyncIterable<OpenAI.ChatCompletionChunk>): Promise<string> {
  let text = ''
  for await (const { choices } of chunks) text += choices[0]?.delta.content ?? ''
  return text
}

describe('the ledger', () => {
  it('has what the answers say, streamed or not, and nothing of what was cancelled', async () => {
    await start()
    const answers = [await whole(), await whole()]
    await textOf(await stream())
    const gate = scripted.engine.block('token')
    const left = await stream()
    await gate.entered
    left.controller.abort()
    await expect.poll(async () => (await scripted.engine.status()).sampling).toBe(0)
    gate.open()
    const day = 86_400_000
    const at = (ms: number) => new Date(ms).toISOString()
    const query = { starting_on: at(Date.now() - day), ending_before: at(Date.now() + day) }
    const { data } = await scripted.server.call('getBillingUsageEvents', { query })
    const count = (type: string) =>
      data
        .filter((event: { event_info: { type: string } }) => event.event_info.type === type)
        .reduce((sum: number, event: { event_info: { token_count: number } }) => sum + event.event_info.token_count, 0)
    const usage = answers[0]?.usage as OpenAI.CompletionUsage
    expect(count('sampling_prefill')).toBe(3 * usage.prompt_tokens)
    expect(count('sampling_sample')).toBe(3 * usage.completion_tokens)
  })
})

describe('a tenant at its limits', () => {
  it('of bytes that wait hears 429 with a time, as the exception that its client retries', async () => {
    await start({ queuedBytes: 10 })
    const gate = scripted.engine.block('generate')
    const first = whole()
    await gate.entered
    const error = await whole().catch((cause: unknown) => cause)
    expect(error).toBeInstanceOf(OpenAI.RateLimitError)
    expect(error).toMatchObject({ code: 'QUEUE_FULL', type: 'rate_limit_error' })
    expect((error as InstanceType<typeof OpenAI.APIError>).headers?.get('retry-after')).toBe('1')
    gate.open()
    await first
    expect((await whole()).choices).toHaveLength(1)
  })

  it('of sequences at once waits for its turn, and leaves it when it goes away', async () => {
    await start({ concurrentSamples: 1 })
    const gate = scripted.engine.block('generate')
    const first = whole()
    await gate.entered
    const second = whole()
    const third = await stream()
    await expect.poll(async () => (await scripted.server.call('status')).operations.length).toBe(3)
    third.controller.abort()
    await expect.poll(async () => (await scripted.server.call('status')).operations.length).toBe(2)
    expect(gate.waiting).toBe(1)
    gate.open()
    expect((await first).choices).toEqual((await second).choices)
  })
})

describe('the loss of an engine', () => {
  it('in the middle of a stream is not seen in it: its successor draws the same tokens', async () => {
    await start()
    const { engine } = scripted
    const gate = engine.block('token')
    const chunks = await stream()
    const text = textOf(chunks)
    await gate.entered
    gate.open()
    const later = engine.block('token')
    await later.entered
    engine.crash()
    expect(await text).toBe('one two three')
    expect(scripted.engine).not.toBe(engine)
  })
})

describe('the end of the server', () => {
  it('is told to those who wait, and what they waited for is not kept', async () => {
    await start()
    const gate = scripted.engine.block('token')
    const chunks = await stream()
    const text = textOf(chunks).catch((cause: unknown) => cause)
    await gate.entered
    await scripted.stop()
    isStopped = true
    expect(await text).toMatchObject({ code: 'SHUTTING_DOWN', type: 'server_error' })
  })
})
