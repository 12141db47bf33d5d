// Values and derivatives of every loss against PyTorch's, made from the formulas of the papers by goldens/losses.py; then
// central differences, so that a loss and its slopes belong together wherever the numbers lie.

import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import {
  CATALOGUE_LOSSES,
  type CatalogueLossName,
  catalogueLoss,
  lossTokens,
  resolveCatalogueLoss,
} from './catalogue.ts'
import type { LossDatum, Settings } from './loss.ts'
import { lossSlope, scaled } from './numbers.ts'

interface GoldenCase {
  readonly loss: CatalogueLossName
  readonly kwargs: Record<string, unknown>
  readonly inputs: readonly string[]
  readonly value: number
  /** By row: [N], or [N][K] for the teacher's. */
  readonly gradient: readonly (number | number[])[][]
}
interface EmbeddingCase {
  readonly kwargs: Record<string, unknown>
  /** 1 begins a group. */
  readonly labels: readonly number[]
  readonly value: number
  readonly gradient: Rows
}
type Rows = readonly (readonly number[])[]

const golden = JSON.parse(readFileSync(new URL('goldens/losses.json', import.meta.url), 'utf8')) as {
  readonly mask: Rows
  readonly logps: Rows
  readonly old: Rows
  readonly ref: Rows
  readonly advantages: Rows
  readonly mixed: Rows
  readonly student: readonly Rows[]
  readonly teacher: readonly Rows[]
  readonly cases: readonly GoldenCase[]
  readonly vectors: Rows
  readonly embeddings: readonly EmbeddingCase[]
}

function datumsOf(inputs: readonly string[]): LossDatum[] {
  const has = (name: string) => inputs.includes(name)
  const row = (rows: Rows, i: number) => Float32Array.from(rows[i] as number[])
  return golden.mask.map((mask, i) => ({
    width: has('teacher') ? 5 : 1,
    mask: Float32Array.from(mask),
    ...(has('old') && { logprobs: row(golden.old, i) }),
    ...(has('ref') && { ref_logps: row(golden.ref, i) }),
    ...((has('advantages') || has('mixed')) && {
      advantages: row(has('mixed') ? golden.mixed : golden.advantages, i),
    }),
    ...(has('teacher') && { teacher_topk_logprobs: Float32Array.from((golden.teacher[i] as Rows).flat()) }),
  }))
}

/** The loss without entropy, and d(loss)/dp, as an engine comes to them. */
function evaluate(name: CatalogueLossName, config: Settings, datums: readonly LossDatum[], logps: Float64Array[]) {
  const loss = catalogueLoss(name)
  if (loss.kind !== 'token') {
    const { loss: value, slopes } = loss.joint(datums, logps, config)
    return { value, gradient: slopes.map((row) => row.map((slope) => -slope)) }
  }
  const shares = loss.shares(datums, config)
  let value = 0
  const gradient = datums.map((datum, i) =>
    (logps[i] as Float64Array).map((p, at) => {
      const share = shares[i]?.[at] as number
      const target = {
        old: datum.logprobs?.[at] ?? 0,
        isOnPolicy: datum.logprobs === undefined,
        advantage: datum.advantages?.[at] ?? 0,
        reference: datum.ref_logps?.[at] ?? 0,
      }
      if (share !== 0) value += share * loss.value(p, target, config)
      return -lossSlope(p, scaled(loss.numbers(target, config), share))
    }),
  )
  return { value, gradient }
}

const logpsOf = (inputs: readonly string[]) =>
  (inputs.includes('teacher') ? golden.student : golden.logps).map((row) => Float64Array.from(row.flat()))

const title = ({ loss, kwargs, inputs }: GoldenCase) => `${loss} ${JSON.stringify(kwargs)} of ${inputs.join(', ')}`

describe.each(golden.cases.map((c) => [title(c), c] as const))('%s', (_, wanted) => {
  const datums = datumsOf(wanted.inputs)
  const { name, config } = resolveCatalogueLoss(wanted.loss, wanted.kwargs)
  const found = evaluate(name, config, datums, logpsOf(wanted.inputs))

  it('has the value and the derivatives of the formula', () => {
    expect(Math.abs(found.value - wanted.value)).toBeLessThan(1e-12 * Math.max(1, Math.abs(wanted.value)))
    wanted.gradient.forEach((row, i) => {
      row.flat().forEach((slope, at) => {
        const error = Math.abs((found.gradient[i]?.[at] as number) - slope)
        expect(error, `row ${i}, number ${at}`).toBeLessThan(1e-12 * Math.max(1, Math.abs(slope)))
      })
    })
  })

  it('has nothing to do with positions that do not count', () => {
    const spoiled = datums.map((datum) => {
      const spoil = (row: Float32Array) => row.map((x, at) => (datum.mask?.[at] ? x : 77))
      return {
        ...datum,
        ...(datum.logprobs && { logprobs: spoil(datum.logprobs) }),
        ...(datum.ref_logps && { ref_logps: spoil(datum.ref_logps) }),
        ...(datum.advantages && { advantages: spoil(datum.advantages) }),
      }
    })
    expect(evaluate(name, config, spoiled, logpsOf(wanted.inputs))).toEqual(found)
  })

  // What is held constant in a formula is not in its differences.
  const isDerived = wanted.loss !== 'CISPOLoss' && !('dft' in wanted.kwargs) && !isOnPolicy(wanted)
  it.each(isDerived ? [wanted] : [])('has the derivatives of its own value, by central differences', () => {
    const logps = logpsOf(wanted.inputs)
    logps.forEach((row, i) => {
      row.forEach((p, at) => {
        const moved = (step: number) => {
          row[at] = p + step
          return evaluate(name, config, datums, logps).value
        }
        const difference = (moved(1e-5) - moved(-1e-5)) / 2e-5
        row[at] = p
        expect(Math.abs(difference - (found.gradient[i]?.[at] as number)), `row ${i}, ${at}`).toBeLessThan(1e-8)
      })
    })
  })
})

const isOnPolicy = ({ inputs }: GoldenCase) => !inputs.includes('old') && inputs.includes('advantages')

it('every loss has a reference', () => {
  expect(new Set([...golden.cases.map((c) => c.loss), 'InfonceLoss'])).toEqual(new Set(Object.keys(CATALOGUE_LOSSES)))
})

describe.each(golden.embeddings.map((c) => [JSON.stringify(c.kwargs), c] as const))('InfonceLoss %s', (_, wanted) => {
  const datums = wanted.labels.map(embeddingOf)
  const { config } = resolveCatalogueLoss('InfonceLoss', wanted.kwargs)
  const vectors = golden.vectors.slice(0, datums.length).map((row) => Float64Array.from(row))
  const found = CATALOGUE_LOSSES.InfonceLoss.joint(datums, vectors, config as never)

  it('has the value and the derivatives of the formula', () => {
    expect(found.loss).toBeCloseTo(wanted.value, 12)
    wanted.gradient.forEach((row, i) => {
      row.forEach((slope, at) => {
        expect(-(found.slopes[i]?.[at] as number)).toBeCloseTo(slope, 12)
      })
    })
  })
})

const embeddingOf = (label: number): LossDatum => ({
  width: 1,
  mask: Float32Array.of(1),
  targets: Int32Array.of(label),
})

it.each<[string, number[], Record<string, unknown>, RegExp]>([
  ['that begin without an anchor', [0, 1, 0], {}, /begin with 0/],
  ['with an anchor alone', [1, 0, 1], {}, /group of row 2 has 1 rows, but needs an anchor, a positive$/],
  [
    'that make too many comparisons',
    Array.from({ length: 1100 }, (_, i) => 1 - (i % 2)),
    {},
    /make 302500 comparisons/,
  ],
  [
    'that are repeated too often',
    Array.from({ length: 60 }, (_, i) => Number(i % 3 === 0)),
    { hard_negatives: 999 },
    /^60 rows make 400000 comparisons/,
  ],
  ['without negatives, where their number is given', [1, 0, 0, 1, 0], { hard_negatives: 2 }, /row 3 .*and a negative$/],
])('InfonceLoss refuses rows %s', (_, labels, kwargs, sentence) => {
  const { config } = resolveCatalogueLoss('InfonceLoss', kwargs)
  expect(catalogueLoss('InfonceLoss').problemOfAll?.(labels.map(embeddingOf), config)).toMatch(sentence)
})

it('sums say how many tokens they counted, means that they are means', () => {
  const datums = datumsOf([])
  const tokens = (name: string, kwargs = {}) => lossTokens(resolveCatalogueLoss(name, kwargs), datums)
  const counted = golden.mask.flat().reduce((sum, m) => sum + m, 0)
  expect(tokens('CrossEntropyLoss', { reduction: 'sum' })).toBe(counted)
  expect(tokens('LigerFusedLinearCrossEntropyLoss')).toBe(counted)
  expect([tokens('CrossEntropyLoss'), tokens('GRPOLoss'), tokens('DPOLoss')]).toEqual([0, 0, 0])
  const nothing = datums.map((datum) => ({ ...datum, mask: new Float32Array(datum.mask?.length ?? 0) }))
  expect(lossTokens(resolveCatalogueLoss('cross_entropy', { reduction: 'sum' }), nothing)).toBe(1)
})

describe('numbers at the ends', () => {
  const one = (numbers: Partial<LossDatum>): LossDatum[] => [{ width: 1, mask: Float32Array.of(1), ...numbers }]
  const at = (name: string, kwargs: Record<string, unknown>, datums: LossDatum[], ...logps: number[]) => {
    const spec = resolveCatalogueLoss(name, kwargs)
    return evaluate(
      spec.name,
      spec.config,
      datums,
      logps.map((p) => Float64Array.of(p)),
    )
  }

  it('a sequence of which nothing counts costs nothing', () => {
    for (const name of ['CrossEntropyLoss', 'GRPOLoss', 'CISPOLoss', 'GSPOLoss', 'SAPOLoss']) {
      const datums = [{ width: 1, mask: Float32Array.of(0), advantages: Float32Array.of(1) }]
      const { value, gradient } = at(name, {}, datums, -1e30)
      expect([value, Math.abs(gradient[0]?.[0] as number)], name).toEqual([0, 0])
    }
  })

  it('an absurd ratio stays finite and has no slope', () => {
    for (const name of ['GRPOLoss', 'SAPOLoss', 'GSPOLoss']) {
      const far = one({ logprobs: Float32Array.of(-1e4), advantages: Float32Array.of(-1) })
      const { value, gradient } = at(name, {}, far, -1)
      expect(Number.isFinite(value), name).toBe(true)
      expect(Math.abs(gradient[0]?.[0] as number), name).toBe(0)
    }
  })

  it('an absurd reference pulls with a finite force', () => {
    const far = one({ ref_logps: Float32Array.of(0), advantages: Float32Array.of(0) })
    const { value, gradient } = at('GRPOLoss', { beta: 0.1 }, far, -1e6)
    expect(Number.isFinite(value)).toBe(true)
    expect(gradient[0]?.[0]).toBeLessThan(-1e30)
    expect(Number.isFinite(Math.fround(gradient[0]?.[0] as number))).toBe(true)
  })

  it('certainty has odds that are finite', () => {
    const pair = [...one({}), ...one({})]
    const { value, gradient } = at('ORPOLoss', {}, pair, 0, -1)
    expect(Number.isFinite(value)).toBe(true)
    expect(gradient.flatMap((row) => [...row]).every(Number.isFinite)).toBe(true)
  })
})
