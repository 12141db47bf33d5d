// Central differences on float64 builds of the graph: every loss, two adapters of different ranks and projections, padded
// attention spans and blocks of the vocabulary, all in one run. Then float32 against float64.

import { describe, expect, it } from 'vitest'
import { lossSlope } from '../../catalogue/losses/numbers.ts'
import type { TrainingDatum } from '../backend.ts'
import { lossOf, resolveLoss, type TokenLoss, targetInputs } from '../losses.ts'
import { type AdapterLayout, adapterLayout, PROJECTIONS, type Projection } from './adapter-layout.ts'
import { type Batch, type BatchWork, packBatch } from './batch.ts'
import { Executor, type TrainableModel } from './executor.ts'
import { partLogprobs } from './head-rows.ts'
import { relativeDeviation } from './testing/goldens.ts'
import { noise, ODD_MODEL, randomWeights } from './testing/random-model.ts'
import { addGradient, type Floats, floats } from './training-stacks.ts'
import { inlineWeights } from './weights.ts'

const VOCABULARY = ODD_MODEL.vocabulary
const UNTIED: TrainableModel = {
  ...ODD_MODEL,
  tied: false,
  qkNorm: false,
  qkvBias: false,
  kvHeads: 4,
  slidingWindow: 3,
  rope: { theta: 500, scaling: { type: 'linear', factor: 2 } },
}

function datum(seed: number, length: number, width = 1): TrainingDatum {
  const next = noise(seed)
  const word = () => Math.floor((next() + 0.5) * VOCABULARY)
  const numbers = (n: number, scale: number, shift = 0) =>
    Float32Array.from({ length: n }, () => shift + scale * next())
  const weights = numbers(length * width, 2)
  weights[0] = 0
  return {
    tokens: Int32Array.from({ length }, word),
    targets: Int32Array.from({ length: length * width }, word),
    width,
    weights,
    logprobs: numbers(length, 0.8, -3.9),
    advantages: numbers(length, 3),
  }
}

interface Params {
  readonly layout: AdapterLayout
  readonly params: Float64Array
  readonly alpha: number
}

function adapter(model: TrainableModel, projections: readonly Projection[], rank: number, seed: number): Params {
  const layout = adapterLayout(model, projections, rank)
  const next = noise(seed)
  return { layout, alpha: 2 * rank, params: Float64Array.from({ length: layout.size }, () => 0.4 * next()) }
}

/** Two adapters, all losses, soft targets. */
function mixedWork(model: TrainableModel): BatchWork[] {
  const first = adapter(model, PROJECTIONS, 3, 1)
  const second = adapter(model, ['q', 'v', 'down', 'unembed'], 2, 2)
  return [
    { weights: first, loss: resolveLoss('cross_entropy'), datums: [datum(1, 5, 3), datum(2, 1)] },
    { weights: second, loss: resolveLoss('importance_sampling'), datums: [datum(3, 4)] },
    { weights: first, loss: resolveLoss('ppo'), datums: [datum(4, 6)] },
    {
      weights: second,
      loss: resolveLoss('cispo', { clip_low_threshold: 0.8, clip_high_threshold: 1.2 }),
      datums: [datum(5, 5)],
    },
    { weights: first, loss: resolveLoss('dro', { beta: 0.3 }), datums: [datum(6, 3)] },
  ]
}

const pack = (work: readonly BatchWork[]) =>
  packBatch(
    work.map((w) => ({ work: w, first: 0, count: w.datums.length })),
    true,
  )

/** 24 tokens in spans of whole sequences with padding in some. */
const inSpans = (batch: Batch): Batch => {
  expect(batch.shape).toMatchObject({ tokens: 24, spans: [0], span: 24 })
  return { ...batch, shape: { ...batch.shape, spans: [0, 6, 10, 16, 21], span: 8 } }
}

const makers = {
  float64: (model: TrainableModel) => executor(model, 'float64'),
  float32: (model: TrainableModel) => executor(model, 'float32'),
}
function executor(model: TrainableModel, type: 'float32' | 'float64') {
  return new Executor(model, inlineWeights(randomWeights(model), type), {
    threads: 1,
    sessions: 4,
    vocabularyBlock: 20,
  })
}

/** What the gradient is of: cispo's ratio is a constant, so its slope at the start stands for it. */
function objective(batch: Batch, outputs: Record<string, Floats>, start: Record<string, Floats>): number {
  return batch.parts.reduce((total, part) => {
    const { loss, datums } = part.work
    const now = partLogprobs(part, batch.shape, outputs)
    const then = partLogprobs(part, batch.shape, start)
    return datums.reduce((sum, d, i) => {
      const { value, numbers } = lossOf(loss.name) as TokenLoss
      return (now[i] as Float64Array).reduce((s, p, at) => {
        const x = targetInputs(d, Math.floor(at / d.width), at % d.width)
        if (loss.name !== 'cispo') return s + value(p, x, loss.config)
        return s - p * lossSlope(then[i]?.[at] as number, numbers(x, loss.config))
      }, sum)
    }, total)
  }, 0)
}

const gradientOf = (batch: Batch, index: number, outputs: Record<string, Floats>, type: 'float32' | 'float64') => {
  const part = batch.parts[index] as Batch['parts'][number]
  const sum = floats(type, part.work.weights.layout.size)
  addGradient(sum, outputs, batch.shape.columns, { weights: part.work.weights, column: part.place.column })
  return sum
}

describe.each([
  ['tied, q/k norms, biases', ODD_MODEL],
  ['untied, sliding window, scaled rope', UNTIED],
])('gradients of a model that is %s', (_, model) => {
  it('equal central differences in float64', async () => {
    const exact = makers.float64(model)
    const batch = inSpans(pack(mixedWork(model)))
    const start = await exact.run(batch)
    const adapters = new Set(batch.parts.map((p) => p.work.weights))
    for (const { layout, params } of adapters) {
      const gradient = new Float64Array(layout.size)
      batch.parts.forEach((p, i) => {
        if (p.work.weights.params === params)
          gradientOf(batch, i, start, 'float64').forEach((g, k) => {
            gradient[k] = (gradient[k] as number) + g
          })
      })
      for (const { projection, layers, a, b, in: width, out } of layout.sections) {
        for (const [side, offset, size] of [
          ['A', a, layers * layout.rank * width],
          ['B', b, layers * layout.rank * out],
        ] as const) {
          const largest = gradient.subarray(offset, offset + size).reduce((m, g) => Math.max(m, Math.abs(g)), 0)
          expect(largest, `${projection}.${side}`).toBeGreaterThan(1e-4)
          for (const at of [offset + (7 % size), offset + Math.floor(size * 0.6), offset + size - 2]) {
            const kept = params[at] as number
            const moved = async (step: number) => {
              params[at] = kept + step
              return objective(batch, await exact.run(batch), start)
            }
            const difference = ((await moved(1e-5)) - (await moved(-1e-5))) / 2e-5
            params[at] = kept
            expect(
              Math.abs(difference - (gradient[at] as number)) / largest,
              `${projection}.${side}[${at}]`,
            ).toBeLessThan(1e-7)
          }
        }
      }
    }
    await exact.close()
  })

  it('are the same in float32, up to its rounding', async () => {
    const batch = inSpans(pack(mixedWork(model)))
    const [exact, single] = [makers.float64(model), makers.float32(model)]
    const [wanted, found] = [await exact.run(batch), await single.run(batch)]
    for (const name of Object.keys(wanted)) {
      expect(relativeDeviation(found[name] ?? [], wanted[name] ?? []), name).toBeLessThan(1e-4)
    }
    await exact.close()
    await single.close()
  })

  it('do not depend on how sequences are laid out in spans', async () => {
    const exact = makers.float64(model)
    const batch = pack(mixedWork(model))
    const [whole, cut] = [await exact.run(batch), await exact.run(inSpans(batch))]
    for (const name of Object.keys(whole)) {
      expect(relativeDeviation(cut[name] ?? [], whole[name] ?? []), name).toBeLessThan(1e-12)
    }
    await exact.close()
  })
})
