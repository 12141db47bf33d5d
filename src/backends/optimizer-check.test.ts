import { describe, expect, it } from 'vitest'
import type { AdamSpec, SgdSpec } from './backend.ts'
import { checkSettings } from './optimizer-check.ts'

const ADAM: AdamSpec = {
  ...{ rule: 'adamw', learningRate: 1e-3, beta1: 0.9, beta2: 0.95, epsilon: 1e-12 },
  ...{ weightDecay: 0, clipNorm: 0 },
}
const SGD: SgdSpec = {
  ...{ rule: 'sgd', learningRate: 1e-3, momentum: 0, dampening: 0, nesterov: false },
  ...{ weightDecay: 0, clipNorm: 0 },
}

describe('settings', () => {
  it('accept the ends of their ranges', () => {
    expect(() =>
      checkSettings({ ...ADAM, learningRate: 0, beta1: 0, beta2: 0, weightDecay: 0, clipNorm: 0 }),
    ).not.toThrow()
  })
  it.each([
    [{ learningRate: -1 }, /learningRate must be a finite number at least 0, not -1/],
    [{ learningRate: Number.NaN }, /learningRate .* not NaN/],
    [{ beta1: 1 }, /beta1 must be .* below 1, not 1/],
    [{ beta2: -0.1 }, /beta2/],
    [{ epsilon: 0 }, /epsilon must be a finite number above 0/],
    [{ weightDecay: Number.POSITIVE_INFINITY }, /weightDecay/],
    [{ clipNorm: -1 }, /clipNorm/],
  ])('%j are refused by name', (change, sentence) => {
    expect(() => checkSettings({ ...ADAM, ...change })).toThrow(
      expect.objectContaining({ code: 'INVALID_INPUT', message: expect.stringMatching(sentence) }),
    )
  })
  it.each<[Partial<SgdSpec>, RegExp]>([
    [{ momentum: -1 }, /sgd: momentum must be a finite number at least 0, not -1/],
    [{ dampening: Number.NaN }, /dampening/],
    [{ nesterov: true }, /nesterov needs a momentum above 0 and a dampening of 0/],
    [{ nesterov: true, momentum: 0.9, dampening: 0.1 }, /nesterov needs/],
    [{ nesterov: 1 as never }, /nesterov must be true or false, not 1/],
    [{ weightDecay: undefined as never }, /weightDecay must be .* not undefined/],
  ])('%j of SGD are refused by name', (change, sentence) => {
    expect(() => checkSettings(SGD)).not.toThrow()
    expect(() => checkSettings({ ...SGD, ...change })).toThrow(
      expect.objectContaining({ code: 'INVALID_INPUT', message: expect.stringMatching(sentence) }),
    )
  })
  it('of another rule are refused with the rules there are', () => {
    expect(() => checkSettings({ ...ADAM, rule: 'muon' as 'adamw' })).toThrow(
      /"muon" is not supported; use adamw, adam, sgd/,
    )
  })
})
