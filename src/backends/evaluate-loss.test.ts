// Values and slopes of losses of every kind, beside numbers that are worked out here.

import { describe, expect, it } from 'vitest'
import { resolveCatalogueLoss } from '../catalogue/losses/catalogue.ts'
import { datum } from './conformance/requests.ts'
import { evaluateLoss } from './evaluate-loss.ts'
import { resolveLoss } from './losses.ts'

const PLAIN = datum(5, 6, 7)
const logprobs = [Float64Array.of(-1, -2)]

describe('evaluateLoss', () => {
  it('sums a loss of the Tinker wire, with the weights as slopes', () => {
    const weighted = { ...PLAIN, weights: Float32Array.of(0.5, 2) }
    const { loss, slopes, entropySlopes } = evaluateLoss(resolveLoss('cross_entropy'), [weighted], { logprobs })
    expect(loss).toBe(4.5)
    expect(slopes).toEqual([Float64Array.of(0.5, 2)])
    expect(entropySlopes).toBeUndefined()
  })

  it('takes the mean of a loss of the catalogue over what its mask lets count', () => {
    const masked = { ...PLAIN, mask: Float32Array.of(0, 1) }
    const { loss, slopes } = evaluateLoss(resolveCatalogueLoss('CrossEntropyLoss'), [masked], { logprobs })
    expect(loss).toBe(2)
    expect(slopes).toEqual([Float64Array.of(0, 1)])
  })

  it('lowers a loss by the entropies it rewards, and asks for them', () => {
    const rewarded = { ...PLAIN, mask: Float32Array.of(1, 1), advantages: Float32Array.of(0, 0) }
    const loss = resolveCatalogueLoss('GRPOLoss', { entropy_coef: 0.5 })
    const scores = { logprobs, entropies: [Float64Array.of(2, 4)] }
    const evaluated = evaluateLoss(loss, [rewarded], scores)
    expect(evaluated.loss).toBeCloseTo(-1.5)
    expect(evaluated.entropySlopes).toEqual([Float64Array.of(0.25, 0.25)])
    expect(() => evaluateLoss(loss, [rewarded], { logprobs })).toThrow(/reads entropies/)
  })

  it('takes pairs together', () => {
    const pair = [PLAIN, PLAIN].map((one) => ({ ...one, mask: Float32Array.of(1, 1) }))
    const ref_logps = Float32Array.of(-1, -2)
    const datums = pair.map((one) => ({ ...one, ref_logps }))
    const both = [Float64Array.of(-1, -2), Float64Array.of(-1, -2)]
    const { loss, slopes } = evaluateLoss(resolveCatalogueLoss('DPOLoss', { beta: 0.5 }), datums, { logprobs: both })
    expect(loss).toBeCloseTo(Math.log(2))
    expect(slopes[0]![0]).toBeCloseTo(0.25)
    expect(slopes[1]![0]).toBeCloseTo(-0.25)
  })

  it('refuses losses of embeddings by name', () => {
    const loss = resolveCatalogueLoss('InfonceLoss')
    expect(() => evaluateLoss(loss, [PLAIN], { logprobs })).toThrow(/InfonceLoss compares embeddings/)
  })
})
