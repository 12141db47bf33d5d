import { describe, expect, it } from 'vitest'
import { ropeFrequencies, ropeTables } from './rope.ts'

const frequencies = (
  scaling: Parameters<typeof ropeFrequencies>[0]['rope']['scaling'],
  headDim = 8,
  theta = 10_000,
) => [...ropeFrequencies({ headDim, rope: { theta, scaling } })]

const PLAIN = [1, 0.1, 0.01, 0.001]

function expectClose(found: readonly number[], wanted: readonly number[]): void {
  expect(found.length).toBe(wanted.length)
  for (const [i, value] of found.entries()) expect(Math.abs(value / wanted[i]! - 1)).toBeLessThan(1e-14)
}

describe('rotary frequencies', () => {
  it('fall from 1 to theta^(-(D-2)/D)', () => expectClose(frequencies({ type: 'none' }), PLAIN))

  it('linear scaling divides all of them', () => {
    expectClose(frequencies({ type: 'linear', factor: 4 }), [0.25, 0.025, 0.0025, 0.00025])
  })

  it('divisors divide one by one', () => {
    expectClose(frequencies({ type: 'divisors', divisors: [1, 2, 4, 8] }), [1, 0.05, 0.0025, 0.000125])
  })

  it('llama3 keeps fast ones, stretches slow ones, and mixes between', () => {
    // 628.3 positions make 100, 10, 1 and 0.1 turns: two are above high = 5, one between, one below low = 0.5.
    const scaling = {
      type: 'llama3',
      factor: 8,
      lowFrequencyFactor: 0.5,
      highFrequencyFactor: 5,
      originalContext: 200 * Math.PI,
    } as const
    const mix = 0.5 / 4.5
    expectClose(frequencies(scaling), [1, 0.1, (1 - mix) * (0.01 / 8) + mix * 0.01, 0.001 / 8])
  })
})

describe('tables', () => {
  it('have a row for each position and are exact to float32 even far out', () => {
    const positions = 100_001
    const { cos, sin } = ropeTables({ headDim: 2, rope: { theta: 10_000, scaling: { type: 'none' } } }, positions)
    expect(cos.length).toBe(positions)
    expect(cos[0]).toBe(1)
    expect(sin[100_000]).toBe(Math.fround(Math.sin(100_000)))
  })
})
