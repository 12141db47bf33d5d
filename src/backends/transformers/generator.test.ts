// What a caller of sampling relies on: streams of random numbers, stop rules, cancellation, failures that stay with their
// request, adapters that are what training made them.

import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { EngineError, GenerationEvent, GenerationRequest } from '../backend.ts'
import type { AdapterWeights } from './adapter.ts'

import { adapterLayout, PROJECTIONS, type Projection } from './adapter-layout.ts'
import type { Generator } from './generator.ts'
import { goldenAdapter, goldenModel, readGolden } from './testing/goldens.ts'
import { liveAdapter } from './testing/harness.ts'
import { ODD_MODEL, randomWeights } from './testing/random-model.ts'
import { collect, createGenerator, goldenGenerator, oddGenerator, request } from './testing/sampling-fixtures.ts'
import type { WeightSource } from './weights.ts'

const MODEL = 'llama-tied'
let generator: Generator
beforeAll(async () => {
  generator = await goldenGenerator(MODEL)
})
afterAll(() => generator.close())

type Changes = Partial<GenerationRequest>
const PROMPT = [7, 8, 9]

const run = (changes: Changes, prompt = PROMPT, adapter: AdapterWeights | null = null, on = generator) =>
  collect(on.add(request(prompt, changes), adapter))

const tokensOf = async (...args: Parameters<typeof run>) =>
  (await run(...args)).samples.map(({ tokens }) => [...tokens])

async function failure(events: AsyncIterable<GenerationEvent>): Promise<EngineError> {
  try {
    await collect(events)
  } catch (error) {
    return error as EngineError
  }
  throw new Error('it did not fail')
}

describe('random numbers', () => {
  it('repeat with the seed, and differ between samples and seeds', async () => {
    const asked = { temperature: 1, samples: 4, maxTokens: 12, seed: '18446744073709551615' }
    const first = await tokensOf(asked)
    expect(await tokensOf(asked)).toEqual(first)
    const others = await tokensOf({ ...asked, seed: '0' })
    expect(new Set([...first, ...others].map(String)).size).toBe(8)
  })

  it.each([
    { temperature: 1, topK: 0, topP: 1 },
    { temperature: 0.6, topK: 0, topP: 1 },
    { temperature: 1.5, topK: 12, topP: 1 },
    { temperature: 1, topK: 0, topP: 0.6 },
    { temperature: 2, topK: 20, topP: 0.7 },
  ])('follow the distribution at %o', async (rule) => {
    const odd = await oddGenerator(50)
    const draws = 3000
    const { samples } = await run({ ...rule, samples: draws, maxTokens: 1, topkSampleLogprobs: 50 }, PROMPT, null, odd)
    const best = samples[0]?.topk
    const expected = kept([...(best?.logprobs ?? [])], rule).map((share) => share * draws)
    const counts = new Array<number>(50).fill(0)
    for (const { tokens } of samples) {
      const place = best?.ids.indexOf(tokens[0] as number) as number
      counts[place] = (counts[place] ?? 0) + 1
    }
    // Tokens with few draws share a cell.
    const rare = (values: readonly number[]) => values.reduce((sum, x, i) => sum + ((expected[i] ?? 0) < 8 ? x : 0), 0)
    const cells = [...expected.entries()].filter(([, n]) => n >= 8).map(([i, n]) => [counts[i] as number, n] as const)
    const chiSquare = cells.reduce((sum, [found, wanted]) => sum + (found - wanted) ** 2 / wanted, 0)
    expect(cells.length).toBeGreaterThan(3)
    expect(Math.abs(rare(counts) - rare(expected))).toBeLessThan(4 * Math.sqrt(rare(expected)) + 1e-9)
    // Its mean is about the number of cells, its deviation sqrt(2 cells). The seed is fixed, so this cannot flicker.
    expect(chiSquare).toBeLessThan(cells.length + 4 * Math.sqrt(2 * cells.length))
    await odd.close()
  })

  it('reach tokens beyond those that are fetched at first, as often as they should', async () => {
    const odd = await oddGenerator(3001)
    const asked = { temperature: 1, samples: 1000, maxTokens: 1, topkSampleLogprobs: 64 }
    const { samples } = await run(asked, PROMPT, null, odd)
    const { ids, logprobs } = samples[0]?.topk ?? { ids: [], logprobs: [] }
    const mass = [...logprobs].reduce((sum, x) => sum + Math.exp(x), 0)
    const likely = samples.filter(({ tokens }) => [...ids].includes(tokens[0] as number)).length
    expect(mass).toBeLessThan(0.9)
    expect(Math.abs(likely - 1000 * mass)).toBeLessThan(4 * Math.sqrt(1000 * mass * (1 - mass)))
    for (const { tokens, logprobs } of samples.slice(0, 40)) {
      const scored = await run({ samples: 0, promptLogprobs: true }, [...PROMPT, tokens[0] as number], null, odd)
      expect(scored.prompt?.logprobs?.at(-1)).toBeCloseTo(logprobs[0] as number, 4)
    }
    await odd.close()
  })
})

/** Shares of tokens, best first, after temperature, top_k and top_p, written out plainly. */
function kept(
  logprobs: readonly number[],
  { temperature, topK, topP }: Record<'temperature' | 'topK' | 'topP', number>,
) {
  const normal = (weights: readonly number[]) => {
    const sum = weights.reduce((a, b) => a + b, 0)
    return weights.map((w) => w / sum)
  }
  const tempered = normal(logprobs.map((x) => Math.exp(x / temperature)))
  const limited = normal(tempered.map((p, i) => (topK > 0 && i >= topK ? 0 : p)))
  let before = 0
  return normal(
    limited.map((p) => {
      const keeps = before < topP
      before += p
      return keeps ? p : 0
    }),
  )
}

describe('logprobs', () => {
  it('of sampled tokens at temperature 1 are those of the same text as a prompt', async () => {
    const { samples } = await run({ temperature: 1, maxTokens: 100, samples: 2, seed: '4' })
    for (const { tokens, logprobs } of samples) {
      const { prompt } = await run({ samples: 0, promptLogprobs: true }, [...PROMPT, ...tokens])
      const scored = prompt?.logprobs?.subarray(PROMPT.length) ?? []
      expect(scored).toHaveLength(100)
      for (const [i, value] of scored.entries()) expect(Math.abs(value - (logprobs[i] as number))).toBeLessThan(1e-4)
    }
  })

  it('of a long prompt’s places, and draws for them, need no more candidates than come back at first', async () => {
    const odd = await oddGenerator(3001, { threads: 1 })
    const prompt = Array.from({ length: 50 }, (_, i) => (i * 61) % 3001)
    const asked = { samples: 0, promptDraws: 40, temperature: 1, seed: '5' }
    const { prompt: drawn } = await run(asked, prompt, null, odd)
    const { ids = new Int32Array(), logprobs = [] } = drawn?.draws ?? {}
    const starts = Int32Array.from(prompt, (_, i) => 40 * i)
    const scored = await run({ samples: 0, promptTargets: { starts, ids }, topkPromptLogprobs: 64 }, prompt, null, odd)
    for (const [i, value] of logprobs.entries()) expect(scored.prompt?.targets?.[i]).toBeCloseTo(value, 4)
    // Some lie beyond the 64 best of their place, as often as they should.
    const best = scored.prompt?.topk
    const rare = [...ids].filter((id, i) => {
      const row = Math.floor(i / 40) + 1
      return !best?.ids.subarray(64 * row, 64 * row + 64).includes(id)
    }).length
    const mass = [...(best?.logprobs.subarray(64) ?? [])].reduce((sum, p) => sum + Math.exp(p), 0) / 49
    expect(Math.abs(rare / ids.length - (1 - mass))).toBeLessThan(4 * Math.sqrt((mass * (1 - mass)) / ids.length))
    await odd.close()
  })

  it('come for the prompt before the samples, from one request', async () => {
    const types: string[] = []
    const asked = { samples: 2, promptLogprobs: true, topkPromptLogprobs: 1 }
    for await (const event of generator.add(request(PROMPT, asked), null)) types.push(event.type)
    expect(types).toEqual(['prompt', 'sample', 'sample'])
  })

  it('of best tokens are at temperature 1 whatever the tokens are drawn at', async () => {
    const asked = { topkSampleLogprobs: 3, maxTokens: 1 }
    const [plain, tempered] = [await run(asked), await run({ ...asked, temperature: 0.3, topK: 1 })]
    expect(tempered.samples[0]?.topk).toEqual(plain.samples[0]?.topk)
    expect(plain.samples[0]?.topk?.logprobs[0]).toBe(plain.samples[0]?.logprobs[0])
    expect(tempered.samples[0]?.logprobs[0]).toBeGreaterThan(plain.samples[0]?.logprobs[0] as number)
  })
})

describe('greedy decoding', () => {
  it.each([50, 3001])('takes the lowest id where all are equal (vocabulary %i)', async (vocabulary) => {
    const config = { ...ODD_MODEL, vocabulary }
    const weights = randomWeights(config)
    const blank = {
      ...weights,
      tensor: (name: string) => ({ ...weights.tensor(name), read: () => zeros(weights, name) }),
    }
    const flat = await createGenerator(config, blank)
    const { samples } = await run({ maxTokens: 3, topkSampleLogprobs: 5 }, PROMPT, null, flat)
    expect([...(samples[0]?.tokens ?? [])]).toEqual([0, 0, 0])
    expect([...(samples[0]?.topk?.ids.subarray(0, 5) ?? [])]).toEqual([0, 1, 2, 3, 4])
    expect(samples[0]?.logprobs[0]).toBeCloseTo(-Math.log(vocabulary), 5)
    await flat.close()
  })
})

const zeros = (weights: WeightSource, name: string) => new Float32Array(weights.tensor(name).read().length)

describe('the end of a sequence', () => {
  it('is the stop token, which is part of it', async () => {
    const [free = []] = await tokensOf({ maxTokens: 16 })
    const stop = free[5] as number
    const { samples } = await run({ maxTokens: 16, stopTokens: [511, stop] })
    expect([...(samples[0]?.tokens ?? [])]).toEqual(free.slice(0, free.indexOf(stop) + 1))
    expect(samples[0]?.stopReason).toBe('stop')
    expect(samples[0]?.logprobs).toHaveLength(free.indexOf(stop) + 1)
  })

  it('is the token that completes a stop string across token borders', async () => {
    const seed = '3'
    const [free = []] = await tokensOf({ maxTokens: 16, temperature: 1, seed })
    // Tokens read `n;`: this string starts within the fifth token and ends within the seventh.
    const stop = `;${free[5]};${`${free[6]}`.slice(0, 1)}`
    const { samples } = await run({ maxTokens: 16, temperature: 1, seed, stopStrings: ['never', stop] })
    expect([...(samples[0]?.tokens ?? [])]).toEqual(free.slice(0, 7))
    expect(samples[0]?.stopReason).toBe('stop')
  })

  it('is not a stop string in the prompt', async () => {
    const { samples } = await run({ stopStrings: ['7;8;9;'], maxTokens: 5 })
    expect(samples[0]).toMatchObject({ stopReason: 'length' })
    expect(samples[0]?.tokens).toHaveLength(5)
  })

  it('comes for each sequence at its own time', async () => {
    const asked = { temperature: 1, samples: 6, maxTokens: 30, seed: '8' }
    const free = await tokensOf(asked)
    const stop = free[0]?.[3] as number
    const { samples } = await run({ ...asked, stopTokens: [stop] })
    for (const [i, { tokens, stopReason }] of samples.entries()) {
      const at = free[i]?.indexOf(stop) as number
      expect([...tokens]).toEqual(at < 0 ? free[i] : free[i]?.slice(0, at + 1))
      expect(stopReason).toBe(at < 0 ? 'length' : 'stop')
    }
  })
})

describe('adapters', () => {
  const NAMES = ['r4', 'r4-zero-b', 'r4-attn-only', 'r4-mlp-only', 'r4-unembed', 'r4-unembed-only']

  it.each([
    ...NAMES.map((name) => [MODEL, name] as const),
    ['llama-untied-rope3', 'r8-unembed'] as const,
    ['qwen2-tied', 'r4'] as const,
    ['qwen3-tied', 'r4'] as const,
    ['llama-bf16-sharded', 'r4'] as const,
  ])('%s %s gives the reference logprobs', async (model, name) => {
    const { datums, losses } = readGolden(`${model}/lora-${name}.json`)
    const own = model === MODEL ? generator : await goldenGenerator(model)
    const adapter = goldenAdapter(model, name).freeze()
    for (const [i, { model_input, target_tokens }] of datums.entries()) {
      const { prompt } = await run(
        { samples: 0, promptLogprobs: true },
        [...model_input, target_tokens.at(-1)],
        adapter,
        own,
      )
      const golden: number[] = losses.cross_entropy.logprobs[i]
      for (const [j, value] of golden.entries()) {
        expect(Math.abs((prompt?.logprobs?.[j + 1] as number) - value)).toBeLessThan(1e-4)
      }
    }
    if (own !== generator) await own.close()
  })

  it('with B = 0 are the base model, bit for bit', async () => {
    const asked = { temperature: 1, maxTokens: 20, promptLogprobs: true }
    const zero = goldenAdapter(MODEL, 'r4-zero-b').freeze()
    expect(await run(asked, PROMPT, zero)).toEqual(await run(asked))
  })

  it('give what the model with merged weights gives', async () => {
    const files = goldenModel(MODEL)
    const adapter = liveAdapter(MODEL, { rank: 8 }).freeze()
    const merged = await createGenerator(
      { ...files.config, tied: false },
      {
        names: () => files.names(),
        contentHash: () => '',
        tensor: (name) => ({ ...files.tensor(sourceName(name)), read: () => mergedWeight(adapter, name) }),
      },
    )
    const asked = { maxTokens: 24, samples: 1 }
    const [ours, theirs] = [await run(asked, PROMPT, adapter), await run(asked, PROMPT, null, merged)]
    expect(ours.samples[0]?.tokens).toEqual(theirs.samples[0]?.tokens)
    for (const [i, value] of (ours.samples[0]?.logprobs ?? []).entries()) {
      expect(value).toBeCloseTo(theirs.samples[0]?.logprobs[i] as number, 4)
    }
    await merged.close()
  })

  it('are served together, also when they need more columns than one run has', async () => {
    // 10 x 64 columns: more than four runs have, too, so the last wait.
    const adapters = Array.from({ length: 10 }, (_, i) => liveAdapter(MODEL, { rank: 64, seed: `${i}` }).freeze())
    const alone: number[][][] = []
    for (const adapter of adapters) alone.push(await tokensOf({ maxTokens: 6 }, PROMPT, adapter))
    const together = await Promise.all(adapters.map((adapter) => tokensOf({ maxTokens: 6 }, PROMPT, adapter)))
    expect(together).toEqual(alone)
    expect(new Set(together.map(String)).size).toBeGreaterThan(6)
  })

  it('that drive numbers out of range fail alone', async () => {
    const layout = adapterLayout(goldenModel(MODEL).config, PROJECTIONS, 4)
    const absurd = { layout, params: new Float32Array(layout.size).fill(1e30), alpha: 32, hash: 'absurd' }
    const asked = { temperature: 1, maxTokens: 12, samples: 2 }
    const alone = await run(asked)
    const [good, bad, late] = await Promise.all([
      run(asked),
      failure(generator.add(request(PROMPT, { operation: 'op-9', snapshot: 'absurd' }), absurd)),
      failure(generator.add(request(PROMPT, { samples: 0, promptLogprobs: true }), absurd)),
    ])
    expect(good).toEqual(alone)
    expect(bad).toMatchObject({ category: 'user', code: 'NON_FINITE' })
    expect(bad.message).toMatch(/op-9.*snapshot absurd/)
    expect(late.code).toBe('NON_FINITE')
    expect(await run(asked)).toEqual(alone)
  })
})

/** W + (alpha / rank) B A of one tensor of the tied model, whose output projection is a tensor of its own here. */
function mergedWeight({ layout, params, alpha }: AdapterWeights, name: string): Float32Array {
  const values = goldenModel(MODEL).tensor(sourceName(name)).read()
  for (const section of layout.sections) {
    for (let layer = 0; layer < section.layers; layer++) {
      if (weightName(section.projection, layer) !== name) continue
      for (let r = 0; r < layout.rank; r++) {
        const a = section.a + (layer * layout.rank + r) * section.in
        const b = section.b + (layer * layout.rank + r) * section.out
        for (let o = 0; o < section.out; o++) {
          const factor = (alpha / layout.rank) * (params[b + o] as number)
          for (let i = 0; i < section.in; i++) {
            values[o * section.in + i] = (values[o * section.in + i] as number) + factor * (params[a + i] as number)
          }
        }
      }
    }
  }
  return values
}

function weightName(projection: Projection, layer: number): string {
  if (projection === 'unembed') return 'lm_head.weight'
  const block = ['q', 'k', 'v', 'o'].includes(projection) ? 'self_attn' : 'mlp'
  return `model.layers.${layer}.${block}.${projection}_proj.weight`
}

const sourceName = (name: string) => (name === 'lm_head.weight' ? 'model.embed_tokens.weight' : name)

describe('requests that end early', () => {
  it('free their rows when aborted, and say so', async () => {
    const controller = new AbortController()
    const long = generator.add(request(PROMPT, { maxTokens: 400, samples: 8 }), null, controller.signal)
    const short = generator.add(request(PROMPT, { maxTokens: 3 }), null)
    await collect(short)
    controller.abort()
    expect(await failure(long)).toMatchObject({ category: 'user', code: 'CANCELLED' })
    const before = generator.sampledTokens
    await run({ maxTokens: 5 })
    expect(generator.sampledTokens).toBe(before + 5)
    expect(generator.active).toBe(0)
  })

  it('free their rows when nobody listens any more', async () => {
    const asked = { maxTokens: 400, samples: 2, promptLogprobs: true }
    for await (const event of generator.add(request(PROMPT, asked), null)) {
      expect(event.type).toBe('prompt')
      break
    }
    const before = generator.sampledTokens
    await run({ maxTokens: 5 })
    expect(generator.sampledTokens).toBe(before + 5)
  })

  it('never start when aborted before', async () => {
    const events = generator.add(request(PROMPT), null, AbortSignal.abort())
    expect(await failure(events)).toMatchObject({ code: 'CANCELLED' })
    expect(generator.active).toBe(0)
  })

  it('wait for memory in order, and a request alone is served however large', async () => {
    const small = await goldenGenerator(MODEL, { kvBudgetBytes: 1 })
    const done: number[] = []
    const ask = async (maxTokens: number, samples: number) => {
      await run({ maxTokens, samples }, PROMPT, null, small)
      done.push(maxTokens)
    }
    await Promise.all([ask(20, 1), ask(2, 1), ask(3, 1)])
    expect(done).toEqual([20, 2, 3])
    // One with many samples takes turns with the others.
    done.length = 0
    await Promise.all([ask(20, 3), ask(2, 1), ask(3, 1)])
    expect(done).toEqual([2, 3, 20])
    await small.close()
  })

  it('are refused at once when they cannot be served', () => {
    expect(() => generator.add(request([512]), null)).toThrow(/token 512 at position 0 .* vocabulary, 0 to 511/)
    const layout = adapterLayout(goldenModel(MODEL).config, ['q'], 200)
    const wide = { layout, params: new Float32Array(layout.size), alpha: 32, hash: 'wide' }
    expect(() => generator.add(request(PROMPT), wide)).toThrow(/rank 200 .* 128/)
  })

  it('fail when the engine is closed', async () => {
    const other = await goldenGenerator(MODEL)
    const failed = failure(other.add(request(PROMPT, { maxTokens: 400 }), null))
    await other.close()
    expect(await failed).toMatchObject({ category: 'server', code: 'ENGINE_CLOSED' })
    expect(() => other.add(request(PROMPT), null)).toThrow(/closed/)
  })
})
