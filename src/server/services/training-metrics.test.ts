import { describe, expect, it } from 'vitest'
import type { LossSpec } from '../../backends/backend.ts'
import { resolveLoss } from '../../backends/losses.ts'
import { stepMetrics, trainingMetrics } from './training-metrics.ts'

const datum = (logprobs: number[], advantages: number[]) => ({
  tokens: Int32Array.from(logprobs, (_, i) => i),
  targets: Int32Array.from(logprobs, (_, i) => i + 1),
  width: 1,
  logprobs: Float32Array.from(logprobs),
  advantages: Float32Array.from(advantages),
})
const metrics = (loss: LossSpec, sampled: number[], advantages: number[], current: number[]) =>
  trainingMetrics({ loss, datums: [datum(sampled, advantages)] }, { logprobs: [Float32Array.from(current)], loss: 1.5 })

describe('trainingMetrics', () => {
  it('says the loss, and nothing of policies where there is none', () => {
    const { logprobs: _, advantages: __, ...plain } = datum([0], [0])
    const found = trainingMetrics(
      { loss: resolveLoss('cross_entropy'), datums: [plain] },
      { logprobs: [Float32Array.of(-1)], loss: 2 },
    )
    expect(found).toEqual({ 'loss:sum': 2 })
  })

  it('is zero apart and one in ratio on the policy that sampled, prompts left out', () => {
    const found = metrics(resolveLoss('importance_sampling'), [0, -1, -2], [0, 1, 1], [-9, -1, -2])
    expect(found).toEqual({ 'loss:sum': 1.5, 'kl_sample_train:mean': 0, 'ratio_max:max': 1 })
  })

  it('counts what is beyond the thresholds, tokens without an advantage too', () => {
    const found = metrics(resolveLoss('ppo'), [-1, -1, -1, -1], [1, -1, 0, 0], [-1, -1 + Math.log(2), -1.5, -1])
    expect(found['clip_fraction:mean']).toBe(0.5)
    expect(found['ratio_max:max']).toBeCloseTo(2, 5)
    expect(found['kl_sample_train:mean']).toBeCloseTo((0.5 - Math.log(2)) / 4, 5)
  })

  it('looks at the ratio of the sequence where the loss does', () => {
    // Tokens became 4 and 1/2 times as likely: sqrt(2) on average, which is the ratio of both.
    const current = [-9, -2 + Math.log(4), -2 - Math.log(2)]
    const found = metrics(resolveLoss('gspo'), [0, -2, -2], [0, 1, 1], current)
    expect(found['ratio_max:max']).toBeCloseTo(Math.SQRT2, 5)
    expect(found['clip_fraction:mean']).toBe(1)
    expect(found['kl_sample_train:mean']).toBeCloseTo(-Math.log(2) / 2, 5)
  })

  it('stays finite where the sampling policy found a token all but impossible', () => {
    const found = metrics(resolveLoss('ppo'), [-1000], [1], [0])
    expect(Number.isFinite(found['ratio_max:max'])).toBe(true)
  })
})

describe('stepMetrics', () => {
  it('leaves the key `step` to the loops that merge it into their own metrics', () => {
    expect(stepMetrics({ applied: true, gradientNorm: 2, step: 7 })).toEqual({
      grad_norm: 2,
      optimizer_step: 7,
      applied: 1,
    })
  })
})
