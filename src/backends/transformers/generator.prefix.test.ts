// Prompts that begin alike: what was computed once serves the next, with the bits of having been computed anew, and only for
// those who may know of each other.

import { afterEach, describe, expect, it } from 'vitest'
import type { GenerationRequest } from '../backend.ts'
import type { AdapterWeights } from './adapter.ts'
import type { Generator } from './generator.ts'
import { bytesPerToken } from './kv-cache.ts'
import { goldenAdapter, goldenModel } from './testing/goldens.ts'
import { collect, goldenGenerator, request } from './testing/sampling-fixtures.ts'

const MODEL = 'llama-tied'
const opened: Generator[] = []
const open = async (model = MODEL, options = {}) => {
  const generator = await goldenGenerator(model, options)
  opened.push(generator)
  return generator
}
afterEach(async () => {
  for (const generator of opened.splice(0)) await generator.close()
})

/** A prompt of `length` tokens that begins like all of its `family`, the last `own` tokens excepted. */
function prompt(length: number, family = 0, own = 0, mark = 0): number[] {
  return Array.from({ length }, (_, i) => (i * 37 + family * 101 + (i >= length - own ? 7 + mark : 0)) % 512)
}

type Changes = Partial<GenerationRequest>
const ask = (on: Generator, tokens: readonly number[], changes: Changes = {}, adapter: AdapterWeights | null = null) =>
  collect(on.add(request(tokens, { prefixScope: 'ann', ...changes }), adapter))

const bits = (values: Float32Array | undefined) =>
  values && Buffer.from(values.buffer, values.byteOffset, values.byteLength).toString('hex')
const bitsOf = ({ prompt, samples }: Awaited<ReturnType<typeof ask>>) => ({
  prompt: [bits(prompt?.logprobs), bits(prompt?.topk?.logprobs), bits(prompt?.targets), bits(prompt?.draws?.logprobs)],
  samples: samples.map(({ tokens, logprobs }) => [[...tokens], bits(logprobs)]),
})

describe.each(['llama-tied', 'llama-bf16-sharded', 'qwen3-tied', 'mistral-window'])('a hit in %s', (model) => {
  it('has the bits of a miss, at every length, with and without an adapter, alone and in company', async () => {
    const [warm, cold] = [await open(model), await open(model)]
    const adapters = model === 'mistral-window' ? [null] : [null, goldenAdapter(model, 'r4').freeze()]
    const asked: [number[], Changes, AdapterWeights | null][] = []
    for (const adapter of adapters) {
      for (const [i, length] of [64, 65, 100, 128, 129, 191, 193, 260].entries()) {
        const changes = [
          { temperature: 1, seed: `${i}`, samples: 2 },
          { promptLogprobs: true, topkPromptLogprobs: 2, scorePromptFrom: length - 2 },
          {
            promptTargets: {
              starts: Int32Array.from({ length }, (_, at) => (at > length - 3 ? 1 : 0)),
              ids: Int32Array.of(9),
            },
          },
          {},
        ]
        asked.push([prompt(length, 0, i % 3, i), changes[i % 4] ?? {}, adapter])
      }
    }
    const wanted = []
    for (const [tokens, changes, adapter] of asked) {
      wanted.push(bitsOf(await ask(cold, tokens, { ...changes, prefixScope: `${wanted.length}` }, adapter)))
    }
    for (const adapter of adapters) await ask(warm, prompt(320), {}, adapter)
    const alone = []
    for (const [tokens, changes, adapter] of asked) alone.push(await ask(warm, tokens, changes, adapter))
    expect(alone.map(bitsOf)).toEqual(wanted)
    expect(alone.map(({ cachedTokens }) => cachedTokens).slice(0, 8)).toEqual([0, 0, 64, 64, 128, 128, 128, 256])
    const together = await Promise.all(asked.map(([tokens, changes, adapter]) => ask(warm, tokens, changes, adapter)))
    expect(together.map(bitsOf)).toEqual(wanted)
  })
})

describe('the beginning of a prompt', () => {
  const cached = async (...args: Parameters<typeof ask>) => (await ask(...args)).cachedTokens

  it('serves those of its scope alone, and of none where no scope is given', async () => {
    const generator = await open()
    expect(await cached(generator, prompt(200))).toBe(0)
    expect(await cached(generator, prompt(200))).toBe(192)
    expect(await cached(generator, prompt(200), { prefixScope: 'ben' })).toBe(0)
    const events = generator.add(request(prompt(200)), null)
    expect((await collect(events)).cachedTokens).toBe(0)
    expect(generator.prefixBytes).toBe(2 * 192 * bytesPerToken(goldenModel(MODEL).config))
  })

  it('serves those of the same weights alone, and goes with them', async () => {
    const generator = await open()
    const [one, two] = ['r4', 'r8'].map((name) => goldenAdapter(MODEL, name).freeze()) as [
      AdapterWeights,
      AdapterWeights,
    ]
    for (const adapter of [null, one, two]) expect(await cached(generator, prompt(130), {}, adapter)).toBe(0)
    for (const adapter of [null, one, two]) expect(await cached(generator, prompt(130), {}, adapter)).toBe(128)
    generator.forget(one.hash)
    expect(await cached(generator, prompt(130), {}, one)).toBe(0)
    expect(await cached(generator, prompt(130), {}, two)).toBe(128)
  })

  it('is computed as far back as something is asked about it', async () => {
    const generator = await open()
    await ask(generator, prompt(200))
    expect(await cached(generator, prompt(200), { promptLogprobs: true })).toBe(0)
    expect(await cached(generator, prompt(200), { promptDraws: 1 })).toBe(0)
    expect(await cached(generator, prompt(200), { promptLogprobs: true, scorePromptFrom: 128 })).toBe(64)
    expect(await cached(generator, prompt(200), { promptLogprobs: true, scorePromptFrom: 129 })).toBe(128)
  })

  it('is run once for requests that wait together, and for all waves of one', async () => {
    const generator = await open()
    const group = Array.from({ length: 8 }, (_, i) => cached(generator, prompt(200), { seed: `${i}`, temperature: 1 }))
    expect(await Promise.all(group)).toEqual([0, ...Array(7).fill(192)])
    const many = await ask(generator, prompt(150, 1), { samples: 70, temperature: 1, maxTokens: 2 })
    expect([many.cachedTokens, many.samples.length]).toEqual([0, 70])
  })

  it('is held within the budget, the least recently used gone first', async () => {
    const block = 64 * bytesPerToken(goldenModel(MODEL).config)
    const generator = await open(MODEL, { prefixBudgetBytes: 4 * block })
    for (const family of [1, 2, 1, 3]) await ask(generator, prompt(130, family))
    expect(generator.prefixBytes).toBe(4 * block)
    expect(await cached(generator, prompt(130, 1))).toBe(128)
    expect(await cached(generator, prompt(130, 2))).toBe(0)
    const none = await open(MODEL, { prefixBudgetBytes: 0 })
    for (let i = 0; i < 2; i++) expect(await cached(none, prompt(130))).toBe(0)
  })
})
