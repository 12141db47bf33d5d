import { describe, expect, it } from 'vitest'
import type { GradientClip, OptimStep, SgdSpec } from '../backend.ts'
import { Adapter } from './adapter.ts'
import { adapterLayout } from './adapter-layout.ts'
import { clipGradient, optimizerStep } from './optimizer.ts'
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

describe('a step by SGD', () => {
  const SGD: Extract<OptimStep, SgdSpec> = {
    ...{ operation: 'step', adapter: 'a', rule: 'sgd', learningRate: 0.5, momentum: 0, dampening: 0 },
    ...{ nesterov: false, weightDecay: 0, clipNorm: 0 },
  }
  it('without momentum is the gradient times the learning rate, and keeps nothing but the count', () => {
    const adapter = adapterOf(1)
    adapter.addGradient(filled(2))
    optimizerStep(adapter, SGD)
    expect(bits(adapter.params)).toBe(bits(filled(0)))
    expect(adapter.optimizer).toEqual({ rule: 'sgd', slots: {}, step: 1 })
  })

  it('takes the first gradient as its speed, and dampens the later ones', () => {
    const adapter = adapterOf(0)
    for (const gradient of [2, 2]) {
      adapter.addGradient(filled(gradient))
      optimizerStep(adapter, { ...SGD, momentum: 0.5, dampening: 0.25 })
    }
    expect(adapter.optimizer?.slots.momentum?.[0]).toBe(0.5 * 2 + 0.75 * 2)
    expect(adapter.params[0]).toBe(-0.5 * 2 - 0.5 * 2.5)
  })

  it('cannot go on with the state of AdamW: the gradient stays, and a new optimiser can', () => {
    const adapter = adapterOf(1)
    adapter.addGradient(filled(1))
    optimizerStep(adapter, ADAM)
    adapter.addGradient(filled(1))
    const before = bits(adapter.params)
    expect(() => optimizerStep(adapter, SGD)).toThrow(
      expect.objectContaining({
        code: 'OPTIMIZER_MISMATCH',
        message: expect.stringMatching(
          /adapter a has the optimiser state of adamw after 1 steps, with which sgd cannot/,
        ),
      }),
    )
    expect([bits(adapter.params), adapter.gradient?.[0]]).toEqual([before, 1])
    expect(optimizerStep(adapter, { ...SGD, fresh: true })).toMatchObject({ applied: true, step: 1 })
    expect(adapter.optimizer).toMatchObject({ rule: 'sgd', step: 1 })
  })

  it('of a new optimiser of the same rule begins at the first step', () => {
    const [old, fresh] = [adapterOf(1), adapterOf(1)]
    old.addGradient(filled(5))
    optimizerStep(old, { ...ADAM, learningRate: 0 })
    for (const adapter of [old, fresh]) {
      adapter.addGradient(filled(1))
      optimizerStep(adapter, { ...ADAM, fresh: true })
    }
    expect(bits(old.params)).toBe(bits(fresh.params))
    expect(old.optimizer).toEqual(fresh.optimizer)
  })
})

describe('clipping', () => {
  const clip = (change: Partial<GradientClip>) => ({
    ...{ operation: 'clip', adapter: 'a', divisor: 1, maxNorm: null, normType: 2 },
    ...change,
  })
  const size = Math.sqrt(layout.size)
  const withGradient = (value: number) => {
    const adapter = adapterOf(0)
    adapter.addGradient(filled(value))
    return adapter
  }

  it('divides, then clips what is left, and tells the norm between the two', () => {
    const adapter = withGradient(6)
    const { gradientNorm, applied } = clipGradient(adapter, clip({ divisor: 3, maxNorm: 1 }))
    expect([applied, gradientNorm]).toEqual([true, 2 * size])
    expect(adapter.gradient?.[0]).toBe(Math.fround(2 * (1 / (2 * size + 1e-6))))
  })

  it('leaves a gradient within the norm alone, and one that is only divided', () => {
    const adapter = withGradient(1)
    expect(clipGradient(adapter, clip({ maxNorm: 2 * size })).gradientNorm).toBe(size)
    expect(bits(adapter.gradient)).toBe(bits(filled(1)))
    clipGradient(adapter, clip({ divisor: 4 }))
    expect(bits(adapter.gradient)).toBe(bits(filled(0.25)))
  })

  it('to a norm of 0 leaves zeros, as torch does: still a gradient', () => {
    const adapter = withGradient(1)
    clipGradient(adapter, clip({ maxNorm: 0 }))
    expect(optimizerStep(adapter, ADAM)).toMatchObject({ applied: true, gradientNorm: 0 })
  })

  it('adds a millionth to the norm, as torch does', () => {
    const adapter = withGradient(1e-6 / size)
    clipGradient(adapter, clip({ maxNorm: 1e-6 }))
    expect((adapter.gradient?.[0] ?? 0) / (1e-6 / size)).toBeCloseTo(0.5, 5)
  })

  it('changes the gradient that later passes add to', () => {
    const adapter = withGradient(4)
    clipGradient(adapter, clip({ divisor: 2 }))
    adapter.addGradient(filled(1))
    expect(adapter.gradient?.[0]).toBe(3)
  })

  it('without a gradient does nothing', () => {
    const adapter = adapterOf(0)
    expect(clipGradient(adapter, clip({ divisor: 2, maxNorm: 1 }))).toEqual({ applied: false, gradientNorm: 0 })
    expect(adapter.gradient).toBeNull()
  })

  it.each([
    [{ divisor: 0 }, /divisor must be a finite number above 0, not 0/],
    [{ divisor: Number.NaN }, /divisor/],
    [{ divisor: '2' as never }, /divisor .* not 2/],
    [{ maxNorm: -1 }, /maxNorm must be a finite number at least 0, not -1/],
    [{ maxNorm: Number.POSITIVE_INFINITY }, /maxNorm/],
    [{ normType: 1 }, /norm_type 1 is not supported; use 2/],
  ])('%j is refused by name, and the gradient stays', (change, sentence) => {
    const adapter = withGradient(1)
    expect(() => clipGradient(adapter, clip(change))).toThrow(
      expect.objectContaining({ code: 'INVALID_INPUT', message: expect.stringMatching(sentence) }),
    )
    expect(adapter.gradient?.[0]).toBe(1)
  })

  it('that would leave the range of float32 is refused, and the gradient stays', () => {
    const adapter = withGradient(1e30)
    expect(() => clipGradient(adapter, clip({ divisor: 1e-20 }))).toThrow(
      expect.objectContaining({ code: 'NON_FINITE', message: expect.stringMatching(/adapter a, .* zero_grad/) }),
    )
    expect(adapter.gradient?.[0]).toBe(Math.fround(1e30))
  })
})
