// Losses of Twinkle's catalogue through the engine: gradients of adapters against central differences, with rewards for
// entropy and without; then operations on a real model, whose loss falls by a step and which repeat by their plans.

import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { resolveCatalogueLoss } from '../../catalogue/losses/catalogue.ts'
import type { LossSpec, TrainingDatum, TrainingItem } from '../backend.ts'
import { entropyWeightOf, lossOf, resolveLoss, targetInputs } from '../losses.ts'
import type { Adapter } from './adapter.ts'
import { adapterLayout, PROJECTIONS } from './adapter-layout.ts'
import { type Batch, type BatchWork, packBatch } from './batch.ts'
import { Executor, type TrainableModel } from './executor.ts'
import { partEntropies, partLogprobs, partVectors } from './head-rows.ts'
import { optimizerStep } from './optimizer.ts'
import { goldenModel, relativeDeviation } from './testing/goldens.ts'
import { ADAM, bits, goldenTrainer, item, liveAdapter, outcomes, results, someDatum } from './testing/harness.ts'
import { noise, ODD_MODEL, randomWeights } from './testing/random-model.ts'
import type { Trainer } from './trainer.ts'
import { addGradient } from './training-stacks.ts'
import { inlineWeights } from './weights.ts'

/** Every loss, with the settings that have most parts. */
const LOSSES: readonly LossSpec[] = [
  resolveCatalogueLoss('CrossEntropyLoss'),
  resolveCatalogueLoss('ChunkedCrossEntropyLoss', { reduction: 'sum' }),
  resolveCatalogueLoss('LigerFusedLinearCrossEntropyLoss'),
  resolveCatalogueLoss('GRPOLoss', { beta: 0.2, entropy_coef: 0.3 }),
  resolveCatalogueLoss('PPOLoss', { loss_agg_mode: 'seq-mean-token-mean' }),
  resolveCatalogueLoss('BNPOLoss', { epsilon_high: 0.4 }),
  resolveCatalogueLoss('DRGRPOLoss', { max_completion_length: 8 }),
  resolveCatalogueLoss('SAPOLoss', { beta: 0.1, entropy_coef: 0.2 }),
  resolveCatalogueLoss('GSPOLoss', { epsilon: 0.9, epsilon_high: 9, entropy_coef: 0.1 }),
  resolveCatalogueLoss('DPOLoss', { beta: 0.5, sft_weight: 0.3 }),
  resolveCatalogueLoss('DPOLoss', { loss_type: 'ipo', beta: 0.5 }),
  resolveCatalogueLoss('SimPOLoss'),
  resolveCatalogueLoss('CPOLoss'),
  resolveCatalogueLoss('ORPOLoss'),
  resolveCatalogueLoss('GKDLoss', { beta: 0.3, temperature: 1.5 }),
]
/** Whose values hold something constant, so that differences of them are not their slopes. */
const HELD: readonly LossSpec[] = [
  resolveCatalogueLoss('CISPOLoss', { beta: 0.1 }),
  resolveCatalogueLoss('CrossEntropyLoss', { dft: true }),
]

const headOf = (loss: LossSpec) => (entropyWeightOf(loss) > 0 ? 'entropies' : undefined)
const title = (loss: LossSpec) => `${loss.name} ${JSON.stringify(loss.config)}`

function datum(seed: number, length: number, vocabulary: number, width: number): TrainingDatum {
  const next = noise(seed)
  const word = () => Math.floor((next() + 0.5) * vocabulary)
  const numbers = (n: number, scale: number, shift = 0) =>
    Float32Array.from({ length: n }, () => shift + scale * next())
  return {
    tokens: Int32Array.from({ length }, word),
    targets: Int32Array.from({ length: length * width }, word),
    width,
    mask: Float32Array.from({ length }, (_, i) => (i > 0 && i < length - 1 ? 1 : 0)),
    logprobs: numbers(length, 0.8, -3.9),
    ref_logps: numbers(length, 0.8, -3.7),
    advantages: numbers(length, 3),
    teacher_topk_logprobs: numbers(length * width, 2, -3),
  }
}

describe('the gradient of an adapter', () => {
  const model: TrainableModel = ODD_MODEL
  const layout = adapterLayout(model, PROJECTIONS, 3)
  const next = noise(1)
  const weights = { layout, alpha: 6, params: Float64Array.from({ length: layout.size }, () => 0.4 * next()) }
  let exact: Executor
  beforeAll(() => {
    const inline = inlineWeights(randomWeights(model), 'float64')
    exact = new Executor(model, inline, { threads: 1, sessions: 4, vocabularyBlock: 20 })
  })
  afterAll(() => exact.close())

  const datumsOf = (loss: LossSpec) =>
    [5, 4, 7, 3].map((length, i) => datum(11 * i + 1, length, model.vocabulary, lossOf(loss.name).soft ? 4 : 1))

  /** The loss, and the log-probabilities that it comes from. */
  async function lossAt(work: BatchWork) {
    const batch = packBatch([{ work, first: 0, count: work.datums.length }], false, headOf(work.loss))
    const outputs = await exact.run(batch)
    const part = batch.parts[0] as Batch['parts'][number]
    const logprobs = partLogprobs(part, batch.shape, outputs)
    const { config } = work.loss
    const rule = lossOf(work.loss.name)
    const overShares = (value: (i: number, at: number) => number) =>
      (work.shares ?? []).reduce((sum, row, i) => row.reduce((s, share, at) => s + share * value(i, at), sum), 0)
    const entropies = batch.shape.head ? partEntropies(part, batch.shape, outputs) : []
    const bonus = entropyWeightOf(work.loss) * overShares((i, at) => entropies[i]?.[at] ?? 0)
    if (rule.kind !== 'token') return { loss: rule.joint(work.datums, logprobs, config).loss - bonus, logprobs }
    const sum = overShares((i, at) => {
      return rule.value(logprobs[i]?.[at] as number, targetInputs(work.datums[i] as TrainingDatum, at, 0), config)
    })
    return { loss: sum - bonus, logprobs }
  }

  it.each(LOSSES.map((loss) => [title(loss), loss] as const))('of %s equals central differences', async (_, loss) => {
    const datums = datumsOf(loss)
    const rule = lossOf(loss.name)
    const plain: BatchWork = { datums, loss, weights, shares: rule.shares?.(datums, loss.config) }
    const { logprobs } = await lossAt(plain)
    const slopes = rule.kind === 'token' ? undefined : rule.joint(datums, logprobs, loss.config).slopes
    const batch = packBatch([{ work: { ...plain, slopes }, first: 0, count: datums.length }], true, headOf(loss))
    const gradient = new Float64Array(layout.size)
    addGradient(gradient, await exact.run(batch), batch.shape.columns, { weights, column: 0 })
    const largest = gradient.reduce((m, g) => Math.max(m, Math.abs(g)), 0)
    expect(largest).toBeGreaterThan(1e-4)
    for (const at of [3, 0.3, 0.5, 0.7, 0.9].map((x) => (x < 1 ? Math.floor(x * layout.size) : layout.size - x))) {
      const kept = weights.params[at] as number
      const moved = async (step: number) => {
        weights.params[at] = kept + step
        return (await lossAt(plain)).loss
      }
      const difference = ((await moved(1e-5)) - (await moved(-1e-5))) / 2e-5
      weights.params[at] = kept
      expect(Math.abs(difference - (gradient[at] as number)) / largest, `parameter ${at}`).toBeLessThan(1e-7)
    }
  })

  it('of embeddings equals central differences', async () => {
    const datums = EMBEDDED.map((_, i) => toEmbed(datum(7 * i + 2, 3 + i, model.vocabulary, 1), i))
    const rule = lossOf('InfonceLoss')
    if (rule.kind === 'token') throw new Error('InfonceLoss compares rows')
    const run = async (backward: boolean, slopes?: readonly Float64Array[]) => {
      const work: BatchWork = { datums, loss: INFONCE, weights, slopes }
      const batch = packBatch([{ work, first: 0, count: datums.length }], backward, 'embeddings')
      const outputs = await exact.run(batch)
      const vectors = partVectors(batch.parts[0] as Batch['parts'][number], batch.shape, outputs)
      return { outputs, columns: batch.shape.columns, ...rule.joint(datums, vectors, INFONCE.config) }
    }
    const start = await run(false)
    const { outputs, columns, loss } = await run(true, start.slopes)
    expect(loss).toBeCloseTo(start.loss, 12)
    const gradient = new Float64Array(layout.size)
    addGradient(gradient, outputs, columns, { weights, column: 0 })
    const largest = gradient.reduce((m, g) => Math.max(m, Math.abs(g)), 0)
    expect(largest).toBeGreaterThan(1e-4)
    for (const section of layout.sections) {
      for (const at of [section.a + 1, section.b + 2]) {
        const kept = weights.params[at] as number
        const moved = async (step: number) => {
          weights.params[at] = kept + step
          return (await run(false)).loss
        }
        const difference = ((await moved(1e-5)) - (await moved(-1e-5))) / 2e-5
        weights.params[at] = kept
        expect(Math.abs(difference - (gradient[at] as number)) / largest, section.projection).toBeLessThan(1e-7)
        // The output projection has no part in embeddings.
        if (section.projection === 'unembed') expect(gradient[at]).toBe(0)
      }
    }
  })

  it('has entropies that are those of the whole distribution', async () => {
    const { vocabulary } = model
    const [short] = datumsOf(resolveCatalogueLoss('GRPOLoss')) as [TrainingDatum]
    const every = Int32Array.from({ length: short.tokens.length * vocabulary }, (_, i) => i % vocabulary)
    const work: BatchWork = {
      datums: [{ tokens: short.tokens, targets: every, width: vocabulary }],
      loss: resolveLoss('cross_entropy'),
      weights,
    }
    const batch = packBatch([{ work, first: 0, count: 1 }], false, 'entropies')
    const outputs = await exact.run(batch)
    const part = batch.parts[0] as Batch['parts'][number]
    const [logprobs] = partLogprobs(part, batch.shape, outputs) as [Float64Array]
    const [entropies] = partEntropies(part, batch.shape, outputs) as [Float64Array]
    expect(entropies).toHaveLength(short.tokens.length)
    entropies.forEach((found, at) => {
      const row = logprobs.subarray(at * vocabulary, (at + 1) * vocabulary)
      expect(found).toBeCloseTo(-row.reduce((sum, l) => sum + Math.exp(l) * l, 0), 12)
    })
  })
})

/** An anchor and its positive, twice; the second pair has a negative too. */
const EMBEDDED = [1, 0, 1, 0, 0] as const
const INFONCE = resolveCatalogueLoss('InfonceLoss', { temperature: 0.5, include_qq: true })
const toEmbed = (plain: TrainingDatum, i: number): TrainingDatum => ({
  tokens: plain.tokens,
  targets: plain.tokens.map((_, at) => (at === plain.tokens.length - 1 ? (EMBEDDED[i] as number) : 0)),
  mask: Float32Array.from(plain.tokens, (_, at) => (at === plain.tokens.length - 1 ? 1 : 0)),
  width: 1,
})

const MODEL = 'llama-tied'

describe('an operation', () => {
  let trainer: Trainer
  beforeAll(async () => {
    trainer = await goldenTrainer(MODEL)
  })
  afterAll(() => trainer.close())

  const train = async (on: Trainer, adapter: Adapter, work: TrainingItem) => {
    const [result] = await results(on, [{ adapter, item: work }])
    if (!result) throw new Error('no result')
    return result
  }

  /** Two pairs, sampled near the adapter's own policy. */
  async function dataFor(adapter: Adapter, loss: LossSpec, lengths = [12, 9, 15, 7]): Promise<TrainingDatum[]> {
    const width = lossOf(loss.name).soft ? 3 : 1
    const plain = lengths.map((length, i) => {
      const one = someDatum(31 * i + 5, length)
      const targets = Int32Array.from({ length: length * width }, (_, at) => {
        return ((one.targets[Math.floor(at / width)] as number) + 7 * (at % width)) % 512
      })
      return { ...one, targets, width }
    })
    const scoring = item(plain, { loss: resolveLoss('cross_entropy'), backward: false })
    const { logprobs } = await train(trainer, adapter, scoring)
    return plain.map((one, i) => {
      const at = (scale: number) => Float32Array.from(one.tokens, (_, n) => logprobs[i]![n]! + scale * Math.cos(n + i))
      return {
        ...one,
        mask: Float32Array.from(one.tokens, (_, n) => (n > 2 ? 1 : 0)),
        ...(width === 1 && { logprobs: at(0.05), ref_logps: at(0.3) }),
        advantages: Float32Array.from(one.tokens, () => (i % 2 ? -0.5 : 1)),
        ...(width > 1 && { teacher_topk_logprobs: Float32Array.from(one.targets, (_, n) => -1 - (n % width)) }),
      }
    })
  }

  it.each([...LOSSES, ...HELD].map((loss) => [title(loss), loss] as const))('of %s lowers it', async (_, loss) => {
    const adapter = liveAdapter(MODEL)
    const data = await dataFor(adapter, loss)
    const before = await train(trainer, adapter, item(data, { loss }))
    optimizerStep(adapter, { ...ADAM, learningRate: 1e-4 })
    const after = await train(trainer, adapter, item(data, { loss, backward: false }))
    expect(Number.isFinite(before.loss)).toBe(true)
    // What these two hold constant moves with their values; what they are for is this.
    const measure = ({ loss: value, logprobs }: typeof before) => {
      const overCounted = (term: (p: number, a: number) => number) =>
        logprobs.reduce(
          (sum, row, i) =>
            row.reduce((s, p, at) => s + (data[i]?.mask?.[at] ?? 0) * term(p, data[i]?.advantages?.[at] ?? 0), sum),
          0,
        )
      if (loss.config.dft) return overCounted((p) => -Math.exp(p))
      return loss.name === 'CISPOLoss' ? overCounted((p, a) => -a * p) : value
    }
    expect(measure(after)).toBeLessThan(measure(before))
    const wantsEntropy = entropyWeightOf(loss) > 0
    expect(before.entropies?.map((row) => row.length)).toEqual(wantsEntropy ? [12, 9, 15, 7] : undefined)
  })

  it('has the means of the whole operation however it is cut, and repeats by its plan with the same bits', async () => {
    const narrow = await goldenTrainer(MODEL, { budget: { tokens: 16 } })
    for (const loss of [LOSSES[0], LOSSES[3], LOSSES[7], LOSSES[9], LOSSES[14]] as LossSpec[]) {
      const [whole, cut] = [liveAdapter(MODEL), liveAdapter(MODEL)]
      const data = await dataFor(whole, loss)
      const one = await train(trainer, whole, item(data, { loss }))
      const neighbour = liveAdapter(MODEL, { seed: '9' })
      const work = item(data, { loss })
      const [parts] = await results(narrow, [
        { adapter: cut, item: work },
        { adapter: neighbour, item: item([someDatum(3, 6)]) },
      ])
      expect(parts?.plan.batches.length, loss.name).toBeGreaterThan(one.plan.batches.length)
      expect(parts?.loss, loss.name).toBeCloseTo(one.loss, 5)
      expect(relativeDeviation(cut.gradient ?? [], whole.gradient ?? []), loss.name).toBeLessThan(1e-5)
      const sum = bits(cut.gradient)
      cut.dropGradient()
      const plan = JSON.parse(JSON.stringify(parts?.plan))
      expect(await train(narrow, cut, { ...work, plan }), loss.name).toEqual(parts)
      expect(bits(cut.gradient), loss.name).toBe(sum)
    }
    await narrow.close()
  })

  it('on embeddings brings what belongs together nearer, cut or not, and repeats by its plan', async () => {
    const narrow = await goldenTrainer(MODEL, { budget: { tokens: 16 } })
    const [whole, cut] = [liveAdapter(MODEL), liveAdapter(MODEL)]
    const data = EMBEDDED.map((_, i) => toEmbed(someDatum(5 * i + 1, 6 + i), i))
    const one = await train(trainer, whole, item(data, { loss: INFONCE }))
    expect(one.logprobs.map((row) => row.length)).toEqual([0, 0, 0, 0, 0])
    for (const row of one.embeddings ?? []) {
      expect(row).toHaveLength(goldenModel(MODEL).config.hidden)
      expect(row.reduce((sum, x) => sum + x * x, 0)).toBeCloseTo(1, 5)
    }
    const work = item(data, { loss: INFONCE })
    const [parts] = await results(narrow, [
      { adapter: cut, item: work },
      { adapter: liveAdapter(MODEL, { seed: '9' }), item: item([someDatum(3, 6)]) },
    ])
    expect(parts?.plan.batches.length).toBeGreaterThan(one.plan.batches.length)
    expect(parts?.loss).toBeCloseTo(one.loss, 5)
    expect(relativeDeviation(cut.gradient ?? [], whole.gradient ?? [])).toBeLessThan(1e-5)
    const sum = bits(cut.gradient)
    cut.dropGradient()
    const plan = JSON.parse(JSON.stringify(parts?.plan))
    expect(await train(narrow, cut, { ...work, plan })).toEqual(parts)
    expect(bits(cut.gradient)).toBe(sum)
    optimizerStep(whole, { ...ADAM, learningRate: 1e-4 })
    const after = await train(trainer, whole, item(data, { loss: INFONCE, backward: false }))
    expect(after.loss).toBeLessThan(one.loss)
    await narrow.close()
  })

  it('that has no sampling policy but its own has the gradient of advantages as weights', async () => {
    const loss = resolveCatalogueLoss('DRGRPOLoss', { max_completion_length: 1 })
    const [own, weighed] = [liveAdapter(MODEL), liveAdapter(MODEL)]
    const [{ logprobs: _, ref_logps: __, ...bare }] = (await dataFor(own, loss)) as [TrainingDatum]
    await train(trainer, own, item([bare], { loss }))
    const weights = Float32Array.from(bare.mask ?? [], (m, i) => m * (bare.advantages?.[i] as number))
    await train(trainer, weighed, item([{ ...bare, weights }]))
    expect(bits(own.gradient)).toBe(bits(weighed.gradient))
  })

  it('does not change the bits of a neighbour, though it needs entropies', async () => {
    const [alone, beside, other] = [liveAdapter(MODEL), liveAdapter(MODEL), liveAdapter(MODEL, { seed: '8' })]
    const loss = resolveCatalogueLoss('GRPOLoss', { entropy_coef: 0.5 })
    const data = await dataFor(other, loss)
    await train(trainer, alone, item([someDatum(1, 10)]))
    await results(trainer, [
      { adapter: other, item: item(data, { loss }) },
      { adapter: beside, item: item([someDatum(1, 10)]) },
    ])
    expect(bits(beside.gradient)).toBe(bits(alone.gradient))
  })

  it.each<[string, string, Record<string, unknown>, (data: TrainingDatum[]) => TrainingDatum[], RegExp]>([
    [
      'an odd number of datums for pairs',
      'DPOLoss',
      {},
      (d) => d.slice(1),
      /DPOLoss: the loss compares pairs.*there are 3 datums/,
    ],
    ['a pair without a reference', 'DPOLoss', {}, without('ref_logps'), /datum 0: ref_logps is missing/],
    [
      'a penalty without a reference',
      'GRPOLoss',
      { beta: 1 },
      without('ref_logps'),
      /ref_logps is missing; with beta 1/,
    ],
    ['no advantages', 'GRPOLoss', {}, without('advantages'), /advantages is missing.*labels, advantages/],
    ['no mask', 'SimPOLoss', {}, without('mask'), /labels is missing/],
    ['a mask of halves', 'CPOLoss', {}, half, /mask has 0.5 at element 0/],
    ['rows that are no embeddings', 'InfonceLoss', {}, (d) => d, /labels mark 9 positions; an embedding is of one/],
    ['one token of a teacher', 'GKDLoss', {}, teacher, /1 token a position; distributions need at least 2/],
  ])('is refused for %s', async (_, name, kwargs, change, message) => {
    const adapter = liveAdapter(MODEL)
    const loss = resolveCatalogueLoss(name, kwargs)
    const data = change(await dataFor(adapter, resolveCatalogueLoss('GRPOLoss')))
    const [failed] = await outcomes(trainer, [{ adapter, item: item(data, { loss }) }])
    expect(failed).toMatchObject({ error: { code: 'INVALID_INPUT', message: expect.stringMatching(message) } })
    expect(adapter.gradient).toBeNull()
  })
})

function without(key: keyof TrainingDatum) {
  return (data: TrainingDatum[]) => data.map(({ [key]: _, ...rest }) => rest as unknown as TrainingDatum)
}
function half(data: TrainingDatum[]): TrainingDatum[] {
  return data.map((one) => ({ ...one, mask: new Float32Array(one.tokens.length).fill(0.5) }))
}
function teacher(data: TrainingDatum[]): TrainingDatum[] {
  return data.map((one) => ({ ...one, teacher_topk_logprobs: new Float32Array(one.tokens.length) }))
}
