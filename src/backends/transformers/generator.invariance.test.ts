// A request's tokens and the bits of its logprobs are its own: they depend on nobody who is served at the same time, nor on
// order, batch size, cache size or threads. Compared bit by bit, so that a new onnxruntime cannot change it silently.

import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { GenerationRequest } from '../backend.ts'
import type { AdapterWeights } from './adapter.ts'
import type { Generator } from './generator.ts'
import { goldenAdapter } from './testing/goldens.ts'
import { collect, goldenGenerator, request } from './testing/sampling-fixtures.ts'

interface Client {
  readonly request: GenerationRequest
  readonly snapshot: AdapterWeights | null
}

/** One with grouped heads and adapters of all kinds, one with a head dimension of 24 and a key head for each head. */
const MODELS: Record<string, readonly string[]> = {
  'llama-tied': ['r4', 'r8', 'r4-unembed', 'r4-attn-only', 'r4-mlp-only', 'r4-unembed-only'],
  'llama-bf16-sharded': ['r4'],
  'qwen3-tied': ['r4'],
}
const PROMPT_LENGTHS = [1, 2, 5, 17, 63, 64, 65, 100, 127, 128, 200]

function clients(snapshots: readonly (AdapterWeights | null)[], count: number): Client[] {
  return Array.from({ length: count }, (_, i) => {
    const length = PROMPT_LENGTHS[i % PROMPT_LENGTHS.length] as number
    const prompt = Array.from({ length }, (_, t) => (t * 37 + i * 101 + 3) % 512)
    const rules = [
      { temperature: 0 },
      { temperature: 1 },
      { temperature: 0.7, topK: 20 },
      { temperature: 1.3, topP: 0.9 },
    ]
    const changes = {
      maxTokens: 3 + ((i * 7) % 20),
      seed: `${i}`,
      promptLogprobs: i % 3 === 0,
      topkSampleLogprobs: i % 4 === 0 ? 2 : 0,
      samples: i % 9 === 8 ? 3 : 1,
      ...rules[i % rules.length],
    }
    return { request: request(prompt, changes), snapshot: snapshots[i % snapshots.length] ?? null }
  })
}

const bits = (values: Float32Array | undefined) =>
  values ? [...new Uint32Array(values.buffer, values.byteOffset, values.length)] : null

async function answer(generator: Generator, { request, snapshot }: Client) {
  const { prompt, samples } = await collect(generator.add(request, snapshot))
  return {
    prompt: bits(prompt?.logprobs),
    samples: samples.map(({ tokens, logprobs, topk }) => ({
      tokens: [...tokens],
      logprobs: bits(logprobs),
      topk: bits(topk?.logprobs),
    })),
  }
}

/** Deterministic shuffle. */
function shuffled<T>(items: readonly T[], seed: number): T[] {
  const keys = items.map((_, i) => Math.imul(i + seed, 0x9e3779b1) >>> 0)
  return items
    .map((item, i) => ({ item, key: keys[i] as number }))
    .sort((a, b) => a.key - b.key)
    .map(({ item }) => item)
}

describe.each(Object.entries(MODELS))('%s', (model, adapters) => {
  let generator: Generator
  let all: Client[]
  let alone: Awaited<ReturnType<typeof answer>>[]

  beforeAll(async () => {
    generator = await goldenGenerator(model)
    all = clients([null, ...adapters.map((adapter) => goldenAdapter(model, adapter).freeze())], 33)
    alone = []
    for (const client of all) alone.push(await answer(generator, client))
  })
  afterAll(() => generator.close())

  async function together(generator: Generator, group: readonly Client[]) {
    const answers = await Promise.all(group.map((client) => answer(generator, client)))
    answers.forEach((got, i) => {
      expect(got, group[i]?.request.operation).toEqual(alone[all.indexOf(group[i] as Client)])
    })
  }

  it('in batches of any size and order', async () => {
    for (const size of [2, 3, 5, 8, 33]) {
      for (let first = 0; first + size <= 33; first += Math.max(size, 11)) {
        await together(generator, shuffled(all, size).slice(first, first + size))
      }
    }
  })

  it('when company comes and goes', async () => {
    const running: Promise<void>[] = []
    for (const client of shuffled(all, 7)) {
      running.push(together(generator, [client]))
      const other = generator.add(request([1, 2, 3], { maxTokens: 40 }), null)
      const pause = await collect(generator.add(request([4], { maxTokens: 1 }), null))
      expect(pause.samples).toHaveLength(1)
      await other.return?.()
    }
    await Promise.all(running)
  })

  it('beside a long neighbour, whose keys make everybody’s cache large', async () => {
    const long = Array.from({ length: 450 }, (_, i) => i)
    const neighbour = collect(generator.add(request(long, { maxTokens: 60 }), null))
    await together(generator, all.slice(0, 12))
    await neighbour
  })

  it('with two threads, and where memory lets few decode at once', async () => {
    const other = await goldenGenerator(model, { threads: 2, kvBudgetBytes: 1_000_000 })
    try {
      await together(other, all)
    } finally {
      await other.close()
    }
  })
})

describe('samples of one request', () => {
  it('are those that smaller requests would get', async () => {
    const generator = await goldenGenerator('llama-tied')
    const prompt = [5, 6, 7, 8]
    const asked = { temperature: 1, seed: '99', maxTokens: 12 }
    const many = await collect(generator.add(request(prompt, { ...asked, samples: 70 }), null))
    const few = await collect(generator.add(request(prompt, { ...asked, samples: 3 }), null))
    expect(many.samples).toHaveLength(70)
    expect(new Set(many.samples.map(({ tokens }) => tokens.join())).size).toBeGreaterThan(60)
    few.samples.forEach((sample, i) => {
      expect([...sample.tokens]).toEqual([...(many.samples[i]?.tokens ?? [])])
      expect(bits(sample.logprobs)).toEqual(bits(many.samples[i]?.logprobs))
    })
    await generator.close()
  })
})
