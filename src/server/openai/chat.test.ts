// Chat completions as OpenAI's own client sends and reads them, on a model that says what a test wants.

import OpenAI from 'openai'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { problemWithAnswer } from '../../../openapi/answers.ts'
import { ScriptedServer } from './testing/scripted-server.ts'

type Body = OpenAI.ChatCompletionCreateParamsNonStreaming

const scripted = new ScriptedServer()
let client: OpenAI
beforeAll(async () => {
  await scripted.start()
  client = scripted.client()
})
afterAll(() => scripted.stop())
beforeEach(() => scripted.say('Hello there.'))

const ASK: Body = { model: 'org/tiny', messages: [{ role: 'user', content: 'Hi' }], max_tokens: 200 }
const ADD: OpenAI.ChatCompletionTool = {
  type: 'function',
  function: { name: 'add', description: 'adds', parameters: { type: 'object', properties: { a: { type: 'number' } } } },
}
const CALL = '<tool_call>{"name": "add", "arguments": {"a": 1}}</tool_call>'

const chat = (changes: Partial<Body> | Record<string, unknown> = {}) =>
  client.chat.completions.create({ ...ASK, ...changes } as Body)

async function streamed(changes: Record<string, unknown> = {}) {
  const chunks: OpenAI.ChatCompletionChunk[] = []
  const body = { ...ASK, ...changes, stream: true } as OpenAI.ChatCompletionCreateParamsStreaming
  for await (const chunk of await client.chat.completions.create(body)) chunks.push(chunk)
  return chunks
}

const saidBy = (chunks: readonly OpenAI.ChatCompletionChunk[], index = 0) =>
  chunks.flatMap(({ choices }) => choices.filter((choice) => choice.index === index))
const textOf = (chunks: readonly OpenAI.ChatCompletionChunk[], index = 0) =>
  saidBy(chunks, index)
    .map(({ delta }) => delta.content ?? '')
    .join('')

async function refusal(changes: Record<string, unknown>): Promise<InstanceType<typeof OpenAI.APIError>> {
  const error = await chat(changes).catch((cause: unknown) => cause)
  expect(error).toBeInstanceOf(OpenAI.APIError)
  return error as InstanceType<typeof OpenAI.APIError>
}

describe('an answer', () => {
  it('is what the document says, with the usage of what was drawn', async () => {
    const answer = await chat()
    expect(problemWithAnswer('createChatCompletion', 200, answer)).toBeUndefined()
    const [choice] = answer.choices
    expect(choice).toMatchObject({ index: 0, finish_reason: 'stop', logprobs: null })
    expect(choice?.message).toEqual({ role: 'assistant', content: 'Hello there.', refusal: null })
    const drawn = scripted.encode('Hello there.').length + 1
    const prompt = scripted.lastRequest.prompt.length
    expect(answer.usage).toEqual({
      prompt_tokens: prompt,
      completion_tokens: drawn,
      total_tokens: prompt + drawn,
      prompt_tokens_details: { cached_tokens: 0 },
    })
  })

  it('is the same by both addresses, and by the key in either header', async () => {
    const other = await scripted.client('tml-anna', '/api/v1').chat.completions.create(ASK)
    expect(other.choices).toEqual((await chat()).choices)
    const direct = await scripted.server.call('createChatCompletion', { body: ASK })
    expect(direct.choices).toEqual(other.choices)
  })

  it('comes in pieces that make the same text, a character never cut', async () => {
    scripted.say('Oh 😀 é!')
    const chunks = await streamed({ stream_options: { include_usage: true } })
    expect(saidBy(chunks)[0]?.delta).toEqual({ role: 'assistant', content: '' })
    expect(textOf(chunks)).toBe('Oh 😀 é!')
    expect(saidBy(chunks).every(({ delta }) => !delta.content?.includes('\uFFFD'))).toBe(true)
    expect(chunks.length).toBeGreaterThan(5)
    expect(saidBy(chunks).at(-1)).toMatchObject({ delta: {}, finish_reason: 'stop' })
    expect(chunks.at(-1)).toMatchObject({ choices: [], usage: (await chat()).usage })
    expect(chunks.slice(0, -1).every(({ usage }) => usage === null)).toBe(true)
    expect(new Set(chunks.map(({ id }) => id)).size).toBe(1)
  })

  it('comes token by token, while later ones are not drawn yet', async () => {
    const gate = scripted.engine.block('token')
    const stream = await client.chat.completions.create({ ...ASK, stream: true })
    const chunks = stream[Symbol.asyncIterator]()
    expect((await chunks.next()).value.choices[0].delta.role).toBe('assistant')
    await gate.entered
    const held = chunks.next()
    gate.open()
    expect((await held).value.choices[0].delta.content).toBe('H')
    await chunks.return?.()
  })

  it('may be several, each with a stream of its own', async () => {
    scripted.say('One.', 'Two!', 'Three')
    const { choices, usage } = await chat({ n: 3 })
    expect(choices.map(({ message }) => message.content)).toEqual(['One.', 'Two!', 'Three'])
    expect(usage?.completion_tokens).toBe(3 + ['One.', 'Two!', 'Three'].flatMap((text) => scripted.encode(text)).length)
    const chunks = await streamed({ n: 3 })
    expect([0, 1, 2].map((index) => textOf(chunks, index))).toEqual(['One.', 'Two!', 'Three'])
  })

  it('ends before a stop string, at an end token or at its length, and says which', async () => {
    scripted.sayOn('one two three')
    const stopped = await chat({ stop: [' two', 'zzz'] })
    expect(stopped.choices[0]).toMatchObject({ message: { content: 'one' }, finish_reason: 'stop' })
    expect(textOf(await streamed({ stop: ' two' }))).toBe('one')
    const cut = await chat({ max_tokens: 500, max_completion_tokens: 1 })
    expect(cut.choices[0]).toMatchObject({ finish_reason: 'length' })
    expect(cut.usage?.completion_tokens).toBe(1)
    expect(scripted.lastRequest).toMatchObject({ maxTokens: 1, stopTokens: [2] })
  })

  it('has the log-probabilities of its tokens, whole and in pieces', async () => {
    const { choices } = await chat({ logprobs: true, top_logprobs: 2 })
    const content = choices[0]?.logprobs?.content ?? []
    expect(content.map(({ token }) => token).join('')).toBe('Hello there.')
    expect(content[0]?.bytes).toEqual([...Buffer.from(content[0]?.token ?? '')])
    for (const {
      logprob,
      top_logprobs: [first, second],
    } of content) {
      expect(logprob).toBeLessThanOrEqual(0)
      expect(first!.logprob).toBeGreaterThanOrEqual(second!.logprob)
    }
    const pieces = saidBy(await streamed({ logprobs: true, top_logprobs: 2 }))
    expect(pieces.flatMap(({ logprobs }) => logprobs?.content ?? [])).toEqual(content)
  })

  it('draws by the numbers of the request', async () => {
    await chat({ temperature: 0.3, top_p: 0.5, top_k: 7, seed: -1, user: 'me', metadata: { a: 'b' }, store: false })
    expect(scripted.lastRequest).toMatchObject({
      temperature: 0.3,
      topP: 0.5,
      topK: 7,
      seed: '18446744073709551615',
    })
  })
})

describe('a prompt', () => {
  it('is what the template makes of all kinds of messages', async () => {
    await chat({
      messages: [
        { role: 'developer', content: 'Be kind.' },
        {
          role: 'user',
          content: [
            { type: 'text', text: 'a' },
            { type: 'text', text: 'b' },
          ],
        },
        {
          role: 'assistant',
          content: null,
          tool_calls: [{ id: 'c1', type: 'function', function: { name: 'add', arguments: '{"a": 1}' } }],
        },
        { role: 'tool', tool_call_id: 'c1', content: '2' },
      ],
      tools: [ADD],
      chat_template_kwargs: { thinking: true },
    })
    expect(scripted.lastPrompt).toBe(
      '[tools]add;<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nab<|im_end|>\n<|im_start|>assistant\n' +
        '[call]{"a": 1}<|im_end|>\n<|im_start|>tool\n2<|im_end|>\n<|im_start|>assistant\n[think]',
    )
  })

  it('shows no tools where none are to be called', async () => {
    scripted.say(CALL)
    const { choices } = await chat({ tools: [ADD], tool_choice: 'none' })
    expect(scripted.lastPrompt).not.toContain('tools')
    expect(choices[0]).toMatchObject({ message: { content: CALL }, finish_reason: 'stop' })
  })
})

describe('calls of tools', () => {
  it('come back as such', async () => {
    scripted.say(`Adding.\n${CALL}\n${CALL.replace('1', '2')}`)
    const answer = await chat({ tools: [ADD], tool_choice: 'auto' })
    expect(problemWithAnswer('createChatCompletion', 200, answer)).toBeUndefined()
    const { message, finish_reason } = answer.choices[0]!
    expect([message.content, finish_reason]).toEqual(['Adding.', 'tool_calls'])
    const calls = message.tool_calls as OpenAI.ChatCompletionMessageFunctionToolCall[]
    expect(calls.map((call) => call.function)).toEqual([
      { name: 'add', arguments: '{"a": 1}' },
      { name: 'add', arguments: '{"a": 2}' },
    ])
    scripted.say(CALL)
    expect((await chat({ tools: [ADD] })).choices[0]?.message.content).toBeNull()
  })

  it('come in a stream as soon as they are whole, and the client puts them together', async () => {
    scripted.say(`Adding.\n${CALL}\n${CALL}`)
    const final = await client.chat.completions.stream({ ...ASK, tools: [ADD] } as never).finalChatCompletion()
    expect(final.choices[0]).toMatchObject({ finish_reason: 'tool_calls', message: { content: 'Adding.' } })
    const calls = final.choices[0]?.message.tool_calls as OpenAI.ChatCompletionMessageFunctionToolCall[]
    expect(calls.map((call) => call.function.arguments)).toEqual(['{"a": 1}', '{"a": 1}'])
  })
})

describe('what is not served', () => {
  it.each([
    [{ response_format: { type: 'json_schema', json_schema: { name: 'x' } } }, 'response_format'],
    [{ frequency_penalty: 0.5 }, 'frequency_penalty'],
    [{ presence_penalty: -1 }, 'presence_penalty'],
    [{ logit_bias: { '5': 100 } }, 'logit_bias'],
    [{ modalities: ['text', 'audio'], audio: { voice: 'x', format: 'wav' } }, 'modalities'],
    [{ audio: { voice: 'x' } }, 'audio'],
    [{ reasoning_effort: 'low' }, 'reasoning_effort'],
    [{ store: true }, 'store'],
    [{ parallel_tool_calls: false }, 'parallel_tool_calls'],
    [{ functions: [] }, 'functions'],
    [{ prediction: { type: 'content', content: 'x' } }, 'prediction'],
    [{ tool_choice: 'required', tools: [ADD] }, 'tool_choice'],
    [{ tools: [{ type: 'function', function: { name: 'x', strict: true } }] }, 'tools[0].function.strict'],
    [{ stream_options: { include_usage: true } }, 'stream_options'],
    [{ stream: true, stream_options: { include_obfuscation: true } }, 'stream_options.include_obfuscation'],
    [{ top_logprobs: 2 }, 'top_logprobs'],
    [{ logprobs: true, top_logprobs: 1000 }, 'top_logprobs'],
    [{ constructor: 1 }, 'constructor'],
    [
      { messages: [{ role: 'user', content: [{ type: 'image_url', image_url: { url: 'x' } }] }] },
      'messages[0].content[0].type',
    ],
    [{ messages: [{ role: 'user', content: null }] }, 'messages[0].content'],
    [{ messages: [{ role: 'assistant', content: 'a', audio: { id: 'x' } }] }, 'messages[0].audio'],
    [{ messages: [{ role: 'function', content: 'a' }] }, 'messages[0].role'],
    [{ messages: [] }, 'messages'],
    [{ temperature: -1 }, 'temperature'],
    [{ top_p: 0 }, 'top_p'],
    [{ n: 129 }, 'n'],
    [{ seed: 1.5 }, 'seed'],
    [{ max_tokens: 0 }, 'max_tokens'],
    [{ stop: [''] }, 'stop[0]'],
  ])('%j is refused by its name', async (changes, param) => {
    const error = await refusal(changes)
    expect(error).toBeInstanceOf(OpenAI.BadRequestError)
    expect(error).toMatchObject({ param, type: 'invalid_request_error' })
    expect(error.message).toContain(param.split(/[.[]/)[0])
  })

  it.each([
    [{ messages: undefined }, 'messages'],
    [{ model: undefined }, 'model'],
  ])('%j misses %s', async (changes, param) => {
    expect(await refusal(changes)).toMatchObject({ status: 400, param })
  })

  it.each(['not JSON', '[1]', '"a"'])('arguments of an earlier call that are %s are refused', async (text) => {
    const tool_calls = [{ id: 'c', type: 'function', function: { name: 'f', arguments: text } }]
    const error = await refusal({ messages: [{ role: 'assistant', content: '', tool_calls }] })
    expect(error).toMatchObject({ status: 400, param: 'messages[0].tool_calls[0].function.arguments' })
  })

  it('what the template refuses is told in its words', async () => {
    const error = await refusal({ messages: [{ role: 'tool', content: 'x' }] })
    expect(error).toMatchObject({ status: 400, param: 'messages', code: 'TEMPLATE_REFUSED' })
    expect(error.message).toContain('a tool has no id')
  })

  it('neutral values are taken', async () => {
    const neutral = { frequency_penalty: 0, presence_penalty: null, logit_bias: {}, response_format: { type: 'text' } }
    await chat({
      ...neutral,
      parallel_tool_calls: true,
      service_tier: 'auto',
      modalities: ['text'],
      n: null,
      tools: [],
    })
  })

  it('a prompt without room is refused before it is read', async () => {
    const error = await refusal({ messages: [{ role: 'user', content: 'word '.repeat(200_000) }] })
    expect(error).toMatchObject({ status: 400, code: 'context_length_exceeded' })
    expect((await refusal({ max_tokens: 512 })).code).toBe('context_length_exceeded')
  })
})

describe('errors', () => {
  it('are the exceptions that the client has for them', async () => {
    const missing = await refusal({ model: 'org/tyni' })
    expect(missing).toBeInstanceOf(OpenAI.NotFoundError)
    expect(missing).toMatchObject({ code: 'model_not_found', param: 'model' })
    expect(missing.message).toContain('org/tiny')
    expect(await refusal({ model: 'tinker://r/weights/a' })).toBeInstanceOf(OpenAI.NotFoundError)
    expect(await refusal({ model: 'tinker://r' })).toBeInstanceOf(OpenAI.BadRequestError)
    expect(await refusal({ adapter_uri: 'org/tiny' })).toMatchObject({ status: 400 })
  })

  it('of a stream that has begun are its last event', async () => {
    scripted.engine.failNext('token', new Error('secret path'))
    const error = await streamed().catch((cause: unknown) => cause)
    expect(error).toBeInstanceOf(OpenAI.APIError)
    expect((error as Error).message).not.toContain('secret')
    expect((await chat()).choices).toHaveLength(1)
  })
})

describe('a client that goes away', () => {
  const idle = async () => (await scripted.engine.status()).sampling

  it('frees its row at once, in the middle of a stream', async () => {
    scripted.sayOn('a')
    const gate = scripted.engine.block('token')
    const stream = await client.chat.completions.create({ ...ASK, stream: true })
    await gate.entered
    expect(await idle()).toBe(1)
    stream.controller.abort()
    await expect.poll(idle).toBe(0)
    gate.open()
  })

  it('frees its row at once, waiting for the whole', async () => {
    const gate = scripted.engine.block('generate')
    const abort = new AbortController()
    const answer = client.chat.completions.create(ASK, { signal: abort.signal })
    await gate.entered
    abort.abort()
    await expect(answer).rejects.toBeInstanceOf(OpenAI.APIUserAbortError)
    await expect.poll(idle).toBe(0)
    gate.open()
  })
})
