import { describe, expect, it } from 'vitest'
import type { LossSpec, TrainingDatum } from './backend.ts'
import { resolveLoss } from './losses.ts'
import { isSampled, SEQUENCE_LOSSES, sequenceRatio } from './sequence-losses.ts'

const { gspo } = SEQUENCE_LOSSES
const WIDE = resolveLoss('gspo', { clip_low_threshold: 0.1, clip_high_threshold: 10 })
const STANDARD = resolveLoss('gspo')

interface Case {
  readonly p: readonly number[]
  readonly q: readonly number[]
  readonly advantages: readonly number[]
  readonly mask?: readonly number[]
}

const datumOf = ({ q, advantages, mask }: Case): TrainingDatum => ({
  tokens: Int32Array.from(q, () => 1),
  targets: Int32Array.from(q, () => 1),
  width: 1,
  logprobs: Float32Array.from(q),
  advantages: Float32Array.from(advantages),
  ...(mask && { sequence_ratio_mask: Float32Array.from(mask) }),
})
const run = (cases: readonly Case[], { config }: LossSpec) =>
  gspo.joint(
    cases.map(datumOf),
    cases.map(({ p }) => Float64Array.from(p)),
    config,
  )
/** Central differences of `value` by each number of `at`. */
const differences = (value: (p: number[]) => number, at: readonly number[]) =>
  at.map((_, i) => {
    const moved = (by: number) => value(at.map((x, j) => (i === j ? x + by : x)))
    return (moved(1e-6) - moved(-1e-6)) / 2e-6
  })
const expectNear = (found: ArrayLike<number> | undefined, wanted: readonly number[]) => {
  expect(found).toHaveLength(wanted.length)
  wanted.forEach((x, i) => {
    expect(Math.abs((found?.[i] as number) - x)).toBeLessThan(1e-8 * Math.max(1, Math.abs(x)))
  })
}

/** Two tokens of prompt, then four that were sampled. Numbers that float32 has exactly, as logprobs travel in it. */
const ONE: Case = { p: [-5, -4, -1.5, -0.5, -2, -3], q: [0, 0, -1.75, -0.25, -2.5, -3], advantages: [0, 0, 1, 1, 1, 1] }

describe('the gradient of gspo', () => {
  it('is that of the whole objective, by finite differences, where a sequence has one advantage', () => {
    for (const a of [1, -0.5]) {
      const one = { ...ONE, advantages: ONE.advantages.map((x) => a * x) }
      const objective = (p: number[]) => {
        const s = Math.exp(p.slice(2).reduce((sum, x, i) => sum + x - (one.q[i + 2] as number), 0) / 4)
        return 4 * Math.min(s * a, Math.min(Math.max(s, 0.1), 10) * a)
      }
      const { loss, slopes } = run([one], WIDE)
      expect(loss).toBeCloseTo(-objective([...one.p]), 12)
      expectNear(slopes[0], differences(objective, one.p))
    }
  })

  it('is that of the token form, by finite differences, where advantages differ from token to token', () => {
    const one = { ...ONE, advantages: [0, 0, 2, -1, 0, 0.5] }
    const s = Math.exp((0.25 - 0.25 + 0.5 + 0) / 4)
    // The ratio in value; each token's own log-probability alone moves it.
    const surrogate = (p: number[]) =>
      p.reduce((sum, x, i) => sum + s * Math.exp(x - (one.p[i] as number)) * (one.advantages[i] as number), 0)
    const masked = { ...one, mask: [0, 0, 1, 1, 1, 1] }
    const { loss, slopes } = run([masked], WIDE)
    expect(loss).toBeCloseTo(-surrogate([...one.p]), 12)
    expectNear(slopes[0], differences(surrogate, one.p))
  })

  it('is nothing beyond the limit that would be gained by, for all tokens of a sequence at once', () => {
    const far = (by: number, a: number): Case => ({ p: [-1 + by, -1], q: [-1, -1], advantages: [a, a] })
    // Each sequence's ratio is exp(by / 2), though only its first token moved.
    const cases = [far(1, 1), far(1, -1), far(-1, 1), far(-1, -1)]
    const [up, down] = [Math.exp(0.5), Math.exp(-0.5)]
    const { loss, slopes } = run(cases, STANDARD)
    expect(slopes.map((row) => [...row])).toEqual([
      [0, 0],
      [-up, -up],
      [down, down],
      [0, 0],
    ])
    expect(loss).toBeCloseTo(-2 * (1.2 - up + down - 0.8), 12)
  })

  it('of one sequence does not depend on the others of the operation', () => {
    const other = { ...ONE, p: ONE.p.map((x) => x - 1), advantages: ONE.advantages.map((a) => -a) }
    const together = run([ONE, other], STANDARD)
    expect(together.slopes).toEqual([...run([ONE], STANDARD).slopes, ...run([other], STANDARD).slopes])
  })
})

describe('the ratio of a sequence', () => {
  it('is taken over the mask, and without one over what has a sampling logprob or an advantage', () => {
    const p = Float64Array.from(ONE.p)
    expect(sequenceRatio(datumOf(ONE), p)).toBeCloseTo(Math.exp(0.125), 12)
    expect(sequenceRatio(datumOf({ ...ONE, mask: [0, 0, 0, 0, 1, 0] }), p)).toBeCloseTo(Math.exp(0.5), 12)
    expect([0, 1, 2, 3, 4, 5].map((at) => isSampled(datumOf(ONE), at))).toEqual([false, false, true, true, true, true])
  })

  it('costs nothing where it is infinite and the advantage is 0', () => {
    const { loss, slopes } = run([{ p: [0], q: [-1e4], advantages: [0] }], STANDARD)
    expect([loss, ...(slopes[0] ?? [])]).toEqual([0, 0])
  })
})
