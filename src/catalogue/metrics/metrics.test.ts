// Held against twinkle-kit's own metrics (goldens/metrics.py), which compute in float32; texts must be the same.

import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import type { Kwargs } from '../arguments.ts'
import type { MetricMoment, MetricPass, MetricResult, MetricRow } from './metric.ts'
import {
  addToMetrics,
  calculateMetrics,
  checkMetrics,
  DEFAULT_METRICS,
  type KeptMetric,
  METRIC_NAMES,
  resolveMetric,
} from './metrics.ts'
import { fixed, scientific } from './text.ts'

type Matrix = number[][]
interface Goldens {
  readonly passes: readonly Record<string, Matrix>[]
  readonly cases: readonly { name: string; kwargs: Kwargs; result: MetricResult }[]
  readonly embedding: { vectors: Matrix; anchors: number[]; loss: number; result: MetricResult }
  readonly written: readonly (Record<string, string> & { value: never })[]
}
const goldens: Goldens = JSON.parse(readFileSync(new URL('goldens/metrics.json', import.meta.url), 'utf8'))

const START = { now: 1_000_000, passes: 0 }
const MOMENT: MetricMoment = { ...START, accumulation: 1, learningRates: [1e-4], gradientNorm: null }
const pass = (rows: readonly MetricRow[], fields: Partial<MetricPass> = {}): MetricPass => ({
  ...{ rows, loss: null, lossTokens: 0 },
  ...fields,
})
/** As the journal keeps it. */
const stored = <T>(value: T): T => JSON.parse(JSON.stringify(value))

/** After these passes, each stored in between. */
function counted(metrics: KeptMetric[], passes: readonly MetricPass[], moment: Partial<MetricMoment> = {}) {
  let kept = metrics
  for (const one of passes) kept = stored(addToMetrics(stored(kept), one))
  return calculateMetrics(kept, { ...MOMENT, ...moment })
}
const resultOf = (
  name: string,
  passes: readonly MetricPass[],
  moment: Partial<MetricMoment> = {},
  kwargs: Kwargs = {},
) => counted([resolveMetric(name, kwargs, START)], passes, moment).result

const goldenPasses = goldens.passes.map((given) =>
  pass(
    (given.logps as Matrix).map((_, row) => {
      const fields = Object.entries(given).filter(([name]) => name !== 'labels')
      return Object.fromEntries(fields.map(([name, values]) => [name, values[row]])) as unknown as MetricRow
    }),
  ),
)

describe('a metric of rows', () => {
  it.each(goldens.cases)('$name $kwargs says what Twinkle says', ({ name, kwargs, result: wanted }) => {
    const result = resultOf(name, goldenPasses, {}, kwargs)
    expect(Object.keys(result).sort()).toEqual(Object.keys(wanted).sort())
    for (const [key, value] of Object.entries(wanted)) {
      if (typeof value === 'string') expect(result[key], key).toBe(value)
      else expect(result[key], key).toBeCloseTo(value, 5)
    }
  })

  it('of embeddings says what Twinkle says', () => {
    const { vectors, anchors, loss, result } = goldens.embedding
    const rows = vectors.map((embedding, i) => ({ logps: [], embedding, isAnchor: anchors[i] === 1 }))
    expect(resultOf('EmbeddingMetric', [pass(rows, { loss })], { gradientNorm: 0.125 })).toEqual(result)
  })

  it('says nothing of what it was not told', () => {
    const plain = pass([{ logps: [-1, -2] }])
    for (const name of ['Accuracy', 'EmbeddingMetric', 'PPOValueMetric'])
      expect(resultOf(name, [plain]), name).toEqual({})
    expect(Object.keys(resultOf('DPOMetric', [pass([{ logps: [-1] }, { logps: [-2] }])]))).toEqual([
      'logps/chosen',
      'logps/rejected',
    ])
    expect(resultOf('GRPOMetric', [plain])).toEqual({
      'train/policy_confidence': Math.exp(-1.5),
      'train/mean_new_logp': -1.5,
    })
    expect(resultOf('GRPOMetric', [])).toEqual({})
  })

  it('compares the anchors of a large batch with all positives of others', () => {
    const pairs = Array.from({ length: 40_000 }, (_, i) => [
      { logps: [0], embedding: [1, 0], isAnchor: true },
      { logps: [0], embedding: i % 2 ? [1, 0] : [0, 1], isAnchor: false },
    ])
    const result = resultOf('EmbeddingMetric', [pass(pairs.flat())])
    expect(result).toEqual({ pos_sim: '0.5000', pos_sim_min: '0.0000', pos_sim_max: '1.0000', neg_sim: '0.5000' })
  })

  it('leaves what a mask leaves', () => {
    const masked = pass([{ logps: [-1, -9], mask: [1, 0] }])
    expect(resultOf('GRPOMetric', [masked])['train/mean_new_logp']).toBe(-1)
  })

  it('stays a number, and JSON, where a ratio has none', () => {
    const wild = pass([{ logps: [-1], logprobs: [-2000], advantages: [1] }])
    const result = resultOf('GRPOMetric', [wild, wild])
    expect(result['train/token_ratio_max']).toBe(Number.MAX_VALUE)
    expect(Object.values(result).every(Number.isFinite)).toBe(true)
    expect(result['train/clip_ratio_high']).toBe(1)
  })

  it('of pairs refuses half a pair before it is computed', () => {
    const kept = [resolveMetric('DPOMetric', {}, START), resolveMetric('GRPOMetric', {}, START)]
    expect(() => checkMetrics(kept, 4)).not.toThrow()
    expect(() => checkMetrics(kept, 3)).toThrow(
      /DPOMetric needs pairs of rows, chosen and rejected in turn, not 3 rows/,
    )
  })
})

describe('LossMetric', () => {
  it('is the mean of means, and of sums the mean over their tokens', () => {
    expect(resultOf('LossMetric', [pass([], { loss: 1 }), pass([], { loss: 2 })])).toEqual({ loss: '1.5000' })
    const sums = [pass([], { loss: 10, lossTokens: 4 }), pass([], { loss: 2, lossTokens: 4 })]
    expect(resultOf('LossMetric', sums, { gradientNorm: 0.5 })).toEqual({
      ...{ loss: '1.5000', grad_norm: '0.500000', num_tokens: 8 },
    })
  })

  it('begins anew after each result', () => {
    const { metrics } = counted([resolveMetric('LossMetric', {}, START)], [pass([], { loss: 4 })])
    expect(counted(metrics, [pass([], { loss: 1 })]).result.loss).toBe('1.0000')
    expect(counted(metrics, [], { gradientNorm: 1 }).result).toEqual({ loss: '0.0000' })
  })
})

describe('Accuracy', () => {
  it('counts the labels that were the likeliest', () => {
    const one = pass([{ logps: [-1, -1, -1], mask: [1, 1, 0] }], { likeliest: 1 })
    expect(resultOf('Accuracy', [one, one, pass([{ logps: [-1] }])])).toEqual({
      ...{ accuracy: '0.50', correct_tokens: 2, total_tokens: 4 },
    })
  })
})

describe('TrainMetric', () => {
  const at = (seconds: number, passes: number, accumulation = 2) => ({
    ...{ now: START.now + 1000 * seconds, passes, accumulation },
  })

  it('tells the rate, updates and their speed since the last result, and the time in all', () => {
    const first = counted([resolveMetric('TrainMetric', {}, START)], [], at(10, 8))
    expect(first.result).toEqual({
      'learning rate': '1.000000e-04',
      ...{ iters: 4, 'total time elapse': '10 seconds', speed: '0.40 iters/s' },
    })
    const second = counted(first.metrics, [], at(80, 12))
    expect(second.result).toMatchObject({ iters: 6, 'total time elapse': '1.3 minutes', speed: '0.03 iters/s' })
  })

  it('names groups of parameters where there are several, and divides by no time at all', () => {
    const moment = { ...START, learningRates: [1e-3, 2 ** -11], accumulation: 1, passes: 1 }
    expect(resultOf('TrainMetric', [], moment)).toMatchObject({
      'learning rate(param group 1)': '1.000000e-03',
      'learning rate(param group 2)': '4.882812e-04',
      speed: '1000.00 iters/s',
    })
  })
})

describe('what cannot be had', () => {
  it.each<[string, Kwargs, string, RegExp]>([
    ['F1', {}, 'UNKNOWN_NAME', /There is no metric "F1"/],
    ['hasOwnProperty', {}, 'UNKNOWN_NAME', /"hasOwnProperty"/],
    ['CompletionRewardMetric', {}, 'UNSUPPORTED_NAME', /counts rewards/],
    ['LossMetric', { beta: 1 }, 'UNKNOWN_ARGUMENT', /LossMetric has no argument "beta"/],
    ['DPOMetric', { beta: '1' }, 'INVALID_ARGUMENT', /beta = "1"/],
    ['GRPOMetric', { top_k_kl: 5 }, 'INVALID_ARGUMENT', /top_k_kl = 5/],
    ['GRPOMetric', { ignore_index: 0 }, 'INVALID_ARGUMENT', /ignore_index = 0/],
    ['PPOMetric', { epsilon: -1 }, 'INVALID_ARGUMENT', /epsilon = -1/],
  ])('%s with %j is refused (%s)', (name, kwargs, code, sentence) => {
    expect(() => resolveMetric(name, kwargs, START)).toThrow(
      expect.objectContaining({ code, message: expect.stringMatching(sentence) }),
    )
  })

  it('is answered with all that can be, of which the first three are always there', () => {
    expect(METRIC_NAMES.slice(0, 3)).toEqual([...DEFAULT_METRICS])
    expect(() => resolveMetric('F1', {}, START)).toThrow(
      expect.objectContaining({ next: `There are: ${METRIC_NAMES.join(', ')}.` }),
    )
  })
})

describe('numbers as Python writes them', () => {
  it.each(goldens.written)('$value', (written) => {
    const value: number = written.value
    for (const digits of [0, 2, 4, 6]) expect(fixed(value, digits)).toBe(written[`.${digits}f`])
    expect(scientific(value, 6)).toBe(written['.6e'])
  })

  it('also those that are none', () => {
    const none = [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]
    expect(none.map((x) => fixed(x, 2))).toEqual(['nan', 'inf', '-inf'])
    expect(none.map((x) => scientific(x, 2))).toEqual(['nan', 'inf', '-inf'])
  })
})
