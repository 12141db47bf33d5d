// Completions as OpenAI's own client sends and reads them, on a model that says what a test wants.

import OpenAI from 'openai'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { problemWithAnswer } from '../../../openapi/answers.ts'
import { ScriptedServer } from './testing/scripted-server.ts'

type Body = OpenAI.CompletionCreateParamsNonStreaming

// Without a chat template: completions need none.
const scripted = new ScriptedServer({}, null)
let client: OpenAI
beforeAll(async () => {
  await scripted.start()
  client = scripted.client()
})
afterAll(() => scripted.stop())
beforeEach(() => scripted.say(' there.'))

const ASK: Body = { model: 'org/tiny', prompt: 'Hello' }
const complete = (changes: Partial<Body> | Record<string, unknown> = {}) =>
  client.completions.create({ ...ASK, ...changes } as Body)

async function streamed(changes: Record<string, unknown> = {}) {
  const chunks: OpenAI.Completion[] = []
  const body = { ...ASK, ...changes, stream: true } as OpenAI.CompletionCreateParamsStreaming
  for await (const chunk of await client.completions.create(body)) chunks.push(chunk)
  return chunks
}

async function refusal(changes: Record<string, unknown>): Promise<InstanceType<typeof OpenAI.APIError>> {
  const error = await complete(changes).catch((cause: unknown) => cause)
  expect(error).toBeInstanceOf(OpenAI.APIError)
  return error as InstanceType<typeof OpenAI.APIError>
}

const texts = ({ choices }: OpenAI.Completion) => choices.map(({ text }) => text)

describe('a completion', () => {
  it('continues a text', async () => {
    const answer = await complete()
    expect(problemWithAnswer('createCompletion', 200, answer)).toBeUndefined()
    expect(answer.choices).toEqual([{ index: 0, text: ' there.', finish_reason: 'stop', logprobs: null }])
    expect([...scripted.lastRequest.prompt]).toEqual(scripted.tokenizer.encode('Hello'))
    expect(scripted.lastRequest.maxTokens).toBe(16)
  })

  it('continues token ids, several texts, or lists of token ids, in their order', async () => {
    await complete({ prompt: [5, 6, 7] })
    expect([...scripted.lastRequest.prompt]).toEqual([5, 6, 7])
    scripted.say(' a', ' b')
    const answer = await complete({ prompt: ['one', 'two two'], n: 2, echo: true })
    expect(texts(answer)).toEqual(['one a', 'one b', 'two two a', 'two two b'])
    expect(answer.choices.map(({ index }) => index)).toEqual([0, 1, 2, 3])
    const lengths = ['one', 'two two'].map((text) => scripted.tokenizer.encode(text).length)
    expect(answer.usage?.prompt_tokens).toBe(lengths[0]! + lengths[1]!)
    expect(answer.usage?.total_tokens).toBe(answer.usage!.prompt_tokens + answer.usage!.completion_tokens)
    expect(texts(await complete({ prompt: [[5], [6, 7]], max_tokens: 1 }))).toHaveLength(2)
  })

  it('continues a text that is long enough to be read elsewhere', async () => {
    const { tokenizer } = scripted
    const ids = Array.from({ length: tokenizer.size }, (_, id) => id).filter((id) => !tokenizer.specialIds.has(id))
    const longest = ids.sort((a, b) => tokenizer.tokenBytes(b).length - tokenizer.tokenBytes(a).length)[0] as number
    const prompt = tokenizer.decode([longest]).repeat(460)
    expect(prompt.length).toBeGreaterThan(4096)
    await complete({ prompt, max_tokens: 1 })
    expect([...scripted.lastRequest.prompt]).toEqual(tokenizer.encode(prompt))
  })

  it('comes in pieces of the same text', async () => {
    scripted.say(' 😀 é', ' b')
    const chunks = await streamed({ prompt: ['one', 'two'], n: 2, echo: true, stream_options: { include_usage: true } })
    const said = [0, 1, 2, 3].map((index) =>
      chunks.flatMap(({ choices }) => choices.filter((one) => one.index === index).map(({ text }) => text)).join(''),
    )
    expect(said).toEqual(['one 😀 é', 'one b', 'two 😀 é', 'two b'])
    const ends = chunks.flatMap(({ choices }) => choices).filter(({ finish_reason }) => finish_reason !== null)
    expect(ends.map(({ finish_reason }) => finish_reason)).toEqual(['stop', 'stop', 'stop', 'stop'])
    expect(chunks.at(-1)).toMatchObject({ choices: [], usage: { prompt_tokens: expect.any(Number) } })
  })

  it('has log-probabilities side by side, with places in the text; of a prompt too where it is echoed', async () => {
    const { choices } = await complete({ logprobs: 2 })
    const { tokens, token_logprobs, top_logprobs, text_offset } = choices[0]!
      .logprobs as Required<OpenAI.CompletionChoice.Logprobs>
    expect(tokens.join('')).toBe(' there.')
    expect(text_offset).toEqual(tokens.map((_, i) => tokens.slice(0, i).join('').length))
    for (const [i, token] of tokens.entries()) expect(top_logprobs[i]![token]).toBeCloseTo(token_logprobs[i]!, 5)
    const echoed = (await complete({ logprobs: 0, echo: true })).choices[0]!
    expect(echoed.logprobs?.tokens?.join('')).toBe('Hello there.')
    expect(echoed.logprobs?.token_logprobs?.[0]).toBeNull()
    expect(echoed.logprobs?.token_logprobs?.slice(1).every((one) => one < 0)).toBe(true)
    expect(echoed.logprobs?.text_offset?.at(-1)).toBe('Hello there'.length)
  })

  it('of no tokens scores the prompt', async () => {
    const answer = await complete({ max_tokens: 0, echo: true, logprobs: 1 })
    expect(answer.choices[0]).toMatchObject({ text: 'Hello', finish_reason: 'length' })
    expect(answer.choices[0]?.logprobs?.tokens?.join('')).toBe('Hello')
    expect(answer.usage).toMatchObject({ completion_tokens: 0 })
    const chunks = await streamed({ max_tokens: 0, echo: true })
    expect(chunks.flatMap(({ choices }) => choices)).toMatchObject([{ text: 'Hello', finish_reason: 'length' }])
  })
})

describe('what is not served', () => {
  it.each([
    [{ best_of: 2 }, 'best_of'],
    [{ suffix: 'x' }, 'suffix'],
    [{ messages: [] }, 'messages'],
    [{ max_tokens: 0 }, 'max_tokens'],
    [{ max_tokens: 0, echo: true, n: 2 }, 'n'],
    [{ echo: true, logprobs: 1, stream: true }, 'stream'],
    [{ logprobs: 1000 }, 'logprobs'],
    [{ prompt: '' }, 'prompt'],
    [{ prompt: [] }, 'prompt'],
    [{ prompt: [5, 'a'] }, 'prompt[0]'],
    [{ prompt: [-1] }, 'prompt'],
    [{ prompt: [[5], [512]] }, 'prompt'],
    [{ prompt: Array.from({ length: 9 }, () => 'a'), n: 128 }, 'n'],
    [{ prompt: null }, 'prompt'],
  ])('%j is refused by its name', async (changes, param) => {
    expect(await refusal(changes)).toMatchObject({ status: 400, param })
  })

  it('a model without a chat template has no chat, and says what there is', async () => {
    const messages = [{ role: 'user' as const, content: 'a' }]
    const error = await client.chat.completions.create({ model: 'org/tiny', messages }).catch((cause) => cause)
    expect(error).toMatchObject({ status: 400, code: 'NO_CHAT_TEMPLATE' })
    expect(error.message).toContain('completions')
  })
})
