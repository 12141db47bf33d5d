import { describe, expect, it } from 'vitest'
import { Adapter } from './adapter.ts'
import { adapterLayout } from './adapter-layout.ts'
import { checkSettings, optimizerStep } from './optimizer.ts'
import { goldenModel } from './testing/goldens.ts'
import { ADAM, bits } from './testing/harness.ts'

const layout = adapterLayout(goldenModel('llama-tied').config, ['q'], 2)
const filled = (value: number) => new Float32Array(layout.size).fill(value)
const adapterOf = (params: number) => new Adapter(layout, 32, filled(params))

describe('a step', () => {
  it('without gradient changes nothing and does not count', () => {
    const adapter = adapterOf(1)
    expect(optimizerStep(adapter, { ...ADAM, weightDecay: 1 })).toEqual({ applied: false, gradientNorm: 0, step: 0 })
    expect(bits(adapter.params)).toBe(bits(filled(1)))
  })

  it('moves against the gradient, uses it up and counts', () => {
    const adapter = adapterOf(1)
    adapter.addGradient(filled(2))
    const norm = Math.sqrt(layout.size * 4)
    expect(optimizerStep(adapter, ADAM)).toEqual({ applied: true, gradientNorm: norm, step: 1 })
    expect(adapter.params[0]).toBeCloseTo(1 - 1e-3, 6)
    expect(adapter.gradient).toBeNull()
    expect(optimizerStep(adapter, ADAM).applied).toBe(false)
  })

  it('reports the norm before clipping', () => {
    const adapter = adapterOf(0)
    adapter.addGradient(filled(3))
    expect(optimizerStep(adapter, { ...ADAM, clipNorm: 0.1 }).gradientNorm).toBeCloseTo(3 * Math.sqrt(layout.size), 4)
  })

  it('takes the sum of what was added', () => {
    const [apart, at] = [adapterOf(0), adapterOf(0)]
    apart.addGradient(filled(1))
    apart.addGradient(filled(0.5))
    at.addGradient(filled(1.5))
    expect(optimizerStep(apart, ADAM)).toEqual(optimizerStep(at, ADAM))
    expect(bits(apart.params)).toBe(bits(at.params))
  })

  it.each([
    ['a learning rate that throws the weights out of float32', { learningRate: 1e39 }, 1],
    ['a learning rate after which A times B is out of float32', { learningRate: 1e20 }, 1],
    ['a gradient whose square is out of float32', {}, 1e25],
  ])('is refused for %s: the adapter stays, the gradient is dropped', (_, change, gradient) => {
    const adapter = adapterOf(1)
    adapter.addGradient(filled(1))
    optimizerStep(adapter, ADAM)
    const before = bits(adapter.params)
    adapter.addGradient(filled(gradient))
    expect(() => optimizerStep(adapter, { ...ADAM, ...change })).toThrow(
      expect.objectContaining({
        code: 'NON_FINITE',
        category: 'user',
        message: expect.stringMatching(/adapter a .*lower the learning rate/),
      }),
    )
    expect(bits(adapter.params)).toBe(before)
    expect([adapter.gradient, adapter.step]).toEqual([null, 1])
  })
})

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
  it('of another rule are refused with the rules there are', () => {
    expect(() => checkSettings({ ...ADAM, rule: 'muon' as 'adamw' })).toThrow(/"muon" is not supported; use adamw/)
  })
})
