// OpenAI's official clients, unmodified, against a real server with the embedded model: the npm package and the one for
// Python. What they draw is held against the same draws in the Tinker protocol.

import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import OpenAI from 'openai'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { openModelSource } from '../../src/formats/model-folder.ts'
import { loadTokenizer } from '../../src/formats/tokenizer.ts'
import { EMBEDDED_MODEL } from '../../src/server/config-fields.ts'
import { RawClient } from './raw-client.ts'
import { pythonEnv } from './sdk-run.ts'
import { type ServerProcess, startServerProcess } from './server-process.ts'

const KEY = 'tml-openai'
const MODEL = EMBEDDED_MODEL.name
const PYTHON_PARTS = ['models', 'chat', 'stream', 'logprobs', 'completions', 'stop', 'errors', 'leave', 'many_at_once']
const NO_PYTHON = 'no Python >= 3.11 with venv and pip runs here; `node scripts/python-env.mjs` says what to do'

const tiny = fileURLToPath(new URL('../../models/tiny', import.meta.url))
const tokenizer = loadTokenizer(openModelSource(tiny).tokenizerFiles(), 'tiny')
const messages = [{ role: 'user' as const, content: 'Who are you? 😀' }]

let server: ServerProcess
let tinker: RawClient
/** Weights of a few steps that only this tenant may read. */
let saved: string
beforeAll(async () => {
  server = await startServerProcess({ keys: [KEY, 'tml-other'] })
  tinker = new RawClient(server.url, KEY)
  const model = await tinker.model(MODEL)
  for (let i = 0; i < 3; i++) await model.submitStep(tokenizer.encode('Who are you? I am somebody else.'))
  const { body } = await tinker.post('save_weights_for_sampler', { ...model.next(), path: 'trained' })
  saved = String((await tinker.result(String(body.request_id))).body.path)
})
afterAll(() => server?.stop())

describe.each(['/api/v1', '/oai/api/v1'])('the npm package at %s', (prefix) => {
  let client: OpenAI
  beforeAll(() => {
    client = new OpenAI({ baseURL: `${server.url}${prefix}`, apiKey: KEY, maxRetries: 0 })
  })

  it.each(['the base model', 'saved weights'])(
    'draws from %s what a Tinker client draws with the same seed',
    async (of) => {
      const prompt = tokenizer.encode('Once upon a')
      const numbers = { seed: 11, temperature: 2.5, top_p: 0.95, max_tokens: 8 }
      const body = { prompt: { chunks: [{ tokens: prompt }] }, num_samples: 3, topk_sample_logprobs: 2 }
      const source = of === 'the base model' ? { base_model: MODEL } : { model_path: saved }
      const submitted = await tinker.post('asample', { ...body, ...source, sampling_params: numbers })
      const drawn = (await tinker.result(String(submitted.body.request_id))).body.sequences as {
        tokens: number[]
        logprobs: number[]
      }[]
      const model = of === 'the base model' ? MODEL : saved
      const { choices } = await client.completions.create({ model, prompt, ...numbers, n: 3, logprobs: 2 })
      expect(new Set(choices.map(({ text }) => text)).size).toBeGreaterThan(1)
      for (const [i, { text, logprobs }] of choices.entries()) {
        const { tokens, logprobs: numbers } = drawn[i]!
        const shown = tokens.filter((token) => token !== 2)
        expect(text).toBe(tokenizer.decode(shown, { skipSpecialTokens: true }))
        expect(logprobs?.token_logprobs).toEqual(numbers.slice(0, shown.length))
      }
    },
  )

  it('streams the text of the whole answer, with the same log-probabilities', async () => {
    const ask = { model: saved, messages, max_tokens: 24, seed: 3, temperature: 1.2, n: 3, logprobs: true }
    const whole = await client.chat.completions.create(ask)
    const stream = await client.chat.completions.create({ ...ask, stream: true })
    const said = whole.choices.map(() => ({ text: '', logprobs: [] as number[] }))
    for await (const { choices } of stream) {
      for (const { index, delta, logprobs } of choices) {
        said[index]!.text += delta.content ?? ''
        said[index]!.logprobs.push(...(logprobs?.content ?? []).map(({ logprob }) => logprob))
      }
    }
    const wanted = whole.choices.map(({ message, logprobs }) => ({
      text: message.content,
      logprobs: logprobs?.content?.map(({ logprob }) => logprob),
    }))
    expect(said).toEqual(wanted)
  })

  it('counts what of a prompt had been computed before', async () => {
    const long = [{ role: 'user' as const, content: `${prefix} ${'one two three four. '.repeat(12)}` }]
    const ask = { model: MODEL, messages: long, max_tokens: 1 }
    const [first, second] = [await client.chat.completions.create(ask), await client.chat.completions.create(ask)]
    expect(first.usage?.prompt_tokens_details?.cached_tokens).toBe(0)
    const { prompt_tokens, prompt_tokens_details } = second.usage as OpenAI.CompletionUsage
    expect(prompt_tokens_details?.cached_tokens).toBe(64 * Math.floor((prompt_tokens - 1) / 64))
  })

  it('leaves, and the row in the engine is free', async () => {
    const busy = async () => {
      const answer = await fetch(`${server.url}/status`, { headers: { 'x-api-key': KEY } })
      return ((await answer.json()) as { operations: unknown[] }).operations.length
    }
    const ask = { model: MODEL, messages, max_tokens: 450, stop: ['never said'], n: 32, temperature: 2 }
    const stream = await client.chat.completions.create({ ...ask, stream: true })
    for await (const { choices } of stream) if (choices[0]?.delta.content) break
    await expect.poll(busy).toBe(0)
    expect((await client.chat.completions.create({ ...ask, n: 1, max_tokens: 2 })).choices).toHaveLength(1)
  })

  it('of another key cannot use the saved weights', async () => {
    const other = new OpenAI({ baseURL: `${server.url}${prefix}`, apiKey: 'tml-other', maxRetries: 0 })
    const refused = other.chat.completions.create({ model: saved, messages })
    await expect(refused).rejects.toBeInstanceOf(OpenAI.NotFoundError)
  })
})

describe('the package for Python', () => {
  let python: string | null
  beforeAll(async () => {
    python = await pythonEnv('openai-3.57.0')
    if (python === null && process.env.CI === 'true') throw new Error(NO_PYTHON)
  }, 20 * 60_000)

  it('does all that scripts do with it', { timeout: 120_000 }, async ({ skip }) => {
    if (python === null) return skip(NO_PYTHON)
    const home = mkdtempSync(join(tmpdir(), 'twinkle-home-'))
    const address = { OPENAI_BASE_URL: `${server.url}/oai/api/v1`, OPENAI_API_KEY: KEY, MODEL, SAVED: saved }
    const env = { PATH: process.env.PATH, LANG: 'C.UTF-8', HOME: home, PYTHONDONTWRITEBYTECODE: '1', ...address }
    const script = fileURLToPath(new URL('openai/client.py', import.meta.url))
    const { stdout } = await promisify(execFile)(python, ['-W', 'ignore', script], { env })
    expect(stdout.trim().split(/\s+/)).toEqual(PYTHON_PARTS)
    rmSync(home, { recursive: true })
  })
})
