// Sampling held against an independent float64 implementation (goldens/README.md): logprobs within 1e-4, greedy tokens equal.

import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Generator } from './generator.ts'
import { readGolden } from './testing/goldens.ts'
import { collect, goldenGenerator, request } from './testing/sampling-fixtures.ts'

interface Sequence {
  readonly tokens: readonly number[]
  readonly prompt_logprobs: readonly (number | null)[]
  readonly topk_prompt_logprobs: readonly (readonly [number, number][] | null)[]
  readonly next_token_top: readonly [number, number][]
  readonly greedy: {
    readonly tokens: readonly number[]
    readonly logprobs: readonly number[]
    readonly logprobs_at_temperature: Readonly<Record<string, readonly number[]>>
  }
  readonly filters_after_last_token: readonly {
    readonly temperature: number
    /** -1: all. */
    readonly top_k: number
    readonly top_p: number
    readonly kept_token_ids: readonly number[]
  }[]
}

const TOLERANCE = 1e-4
const MODELS = ['llama-tied', 'llama-untied-rope3', 'qwen2-tied', 'qwen3-tied', 'llama-bf16-sharded', 'mistral-window']

const furthest = (a: ArrayLike<number>, b: readonly number[]) =>
  Math.max(...b.map((value, i) => Math.abs(value - (a[i] as number))))

describe.each(MODELS)('%s', (model) => {
  let generator: Generator
  const { sequences, topk: k }: { sequences: Sequence[]; topk: number } = readGolden(`${model}/forward.json`)

  beforeAll(async () => {
    generator = await goldenGenerator(model)
  })
  afterAll(() => generator.close())

  it('scores prompts and lists the best tokens', async () => {
    for (const { tokens, prompt_logprobs, topk_prompt_logprobs } of sequences) {
      const asked = { samples: 0, promptLogprobs: true, topkPromptLogprobs: k }
      const { prompt, samples } = await collect(generator.add(request(tokens, asked), null))
      expect(samples).toEqual([])
      expect(prompt?.logprobs?.length).toBe(tokens.length)
      expect(prompt?.logprobs?.[0]).toBeNaN()
      expect(prompt?.topk?.logprobs[0]).toBeNaN()
      for (let i = 1; i < tokens.length; i++) {
        expect(Math.abs((prompt?.logprobs?.[i] as number) - (prompt_logprobs[i] as number))).toBeLessThan(TOLERANCE)
        const golden = topk_prompt_logprobs[i] ?? []
        expect([...(prompt?.topk?.ids.subarray(i * k, i * k + k) ?? [])]).toEqual(golden.map(([id]) => id))
        const best = prompt?.topk?.logprobs.subarray(i * k, i * k + k) ?? []
        expect(
          furthest(
            best,
            golden.map(([, value]) => value),
          ),
        ).toBeLessThan(TOLERANCE)
      }
    }
  })

  it('decodes greedily, all prompts at once', async () => {
    const runs = sequences.map(({ tokens }) =>
      collect(generator.add(request(tokens, { maxTokens: 16, topkSampleLogprobs: k }), null)),
    )
    for (const [i, { samples }] of (await Promise.all(runs)).entries()) {
      const { greedy, next_token_top } = sequences[i] as Sequence
      const [sample] = samples
      expect([...(sample?.tokens ?? [])]).toEqual(greedy.tokens)
      expect(sample?.stopReason).toBe('length')
      expect(furthest(sample?.logprobs ?? [], greedy.logprobs)).toBeLessThan(TOLERANCE)
      expect([...(sample?.topk?.ids.subarray(0, k) ?? [])]).toEqual(next_token_top.map(([id]) => id))
      expect(
        furthest(
          sample?.topk?.logprobs ?? [],
          next_token_top.map(([, value]) => value),
        ),
      ).toBeLessThan(TOLERANCE)
    }
  })

  it('reports logprobs at the temperature that tokens are drawn at', async () => {
    // top_k 1 draws the greedy tokens at any temperature; the reported logprobs come before the filters.
    for (const { tokens, greedy } of sequences) {
      for (const [temperature, golden] of Object.entries(greedy.logprobs_at_temperature)) {
        const asked = { maxTokens: 16, temperature: Number(temperature), topK: 1 }
        const { samples } = await collect(generator.add(request(tokens, asked), null))
        expect([...(samples[0]?.tokens ?? [])]).toEqual(greedy.tokens)
        expect(furthest(samples[0]?.logprobs ?? [], golden)).toBeLessThan(TOLERANCE)
      }
    }
  })

  it('draws the tokens that the reference filters keep, and no others', async () => {
    const { tokens, filters_after_last_token } = sequences.at(-1) as Sequence
    for (const { temperature, top_k, top_p, kept_token_ids } of filters_after_last_token) {
      const asked = { temperature, topK: Math.max(0, top_k), topP: top_p, samples: 640, maxTokens: 1 }
      const { samples } = await collect(generator.add(request(tokens, asked), null))
      const drawn = [...new Set(samples.map((sample) => sample.tokens[0] as number))].sort((a, b) => a - b)
      expect(kept_token_ids).toEqual(expect.arrayContaining(drawn))
      if (kept_token_ids.length <= 10) expect(drawn).toEqual([...kept_token_ids].sort((a, b) => a - b))
    }
  })
})
