import { describe, expect, it } from 'vitest'
import { keyOfSeed, philox, uniform } from './philox.ts'

describe('philox', () => {
  it('gives the published test vectors (Random123, kat_vectors, philox4x32 10)', () => {
    const f = 0xffffffff
    expect(philox([0, 0, 0, 0], [0, 0])).toEqual([0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8])
    expect(philox([f, f, f, f], [f, f])).toEqual([0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd])
    expect(philox([0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344], [0xa4093822, 0x299f31d0])).toEqual([
      0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1,
    ])
  })

  it('uses all 64 bits of a seed', () => {
    expect(keyOfSeed('18446744073709551615')).toEqual([0xffffffff, 0xffffffff])
    expect(keyOfSeed('4294967296')).toEqual([0, 1])
  })

  it('is uniform, and independent between samples and positions', () => {
    const key = keyOfSeed('7')
    const counts = new Array<number>(16).fill(0)
    const seen = new Set<number>()
    for (let sample = 0; sample < 100; sample++) {
      for (let position = 0; position < 160; position++) {
        const u = uniform(key, sample, position)
        seen.add(u)
        counts[Math.floor(u * 16)] = (counts[Math.floor(u * 16)] ?? 0) + 1
      }
    }
    const chiSquare = counts.reduce((sum, n) => sum + (n - 1000) ** 2 / 1000, 0)
    expect(seen.size).toBe(16_000)
    // 15 degrees of freedom: above 37.7 once in a thousand seeds.
    expect(chiSquare).toBeLessThan(37.7)
  })
})
