import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Allowance } from './allowance.ts'

const of = (rate: number | null) => new Allowance(() => rate)

describe('an allowance', () => {
  it('lets a minute’s worth go at once and then waits for what is missing', () => {
    const allowance = of(600)
    expect(allowance.waitMs('a', 600, 0)).toBe(0)
    allowance.take('a', 600, 0)
    expect(allowance.waitMs('a', 10, 0)).toBe(1000)
    expect(allowance.waitMs('a', 10, 1000)).toBe(0)
    expect(allowance.waitMs('b', 600, 0)).toBe(0)
  })

  it('lets more than a minute’s worth go when the bucket is full, and has it paid back', () => {
    const allowance = of(600)
    allowance.take('a', 1, 0)
    expect(allowance.waitMs('a', 6000, 0)).toBe(100)
    allowance.take('a', 6000, 100)
    expect(allowance.waitMs('a', 1, 100)).toBe(540_100)
  })

  it('takes back what was not used, up to a full bucket', () => {
    const allowance = of(600)
    allowance.take('a', 500, 0)
    allowance.take('a', -700, 0)
    allowance.take('a', 600, 0)
    expect(allowance.waitMs('a', 1, 0)).toBe(100)
  })

  it('follows a rate that changes; without one nobody waits, with none everybody does', () => {
    let rate: number | null = 60
    const allowance = new Allowance(() => rate)
    allowance.take('a', 60, 0)
    expect(allowance.waitMs('a', 60, 0)).toBe(60_000)
    rate = 6000
    expect(allowance.waitMs('a', 60, 0)).toBe(600)
    rate = 0
    expect(allowance.waitMs('a', 1, 0)).toBe(Number.POSITIVE_INFINITY)
    rate = null
    expect(allowance.waitMs('a', 1e9, 0)).toBe(0)
  })

  it('is never exceeded over any time by more than its burst and one operation', () => {
    const steps = fc.array(fc.record({ pause: fc.nat(5000), tokens: fc.integer({ min: 1, max: 900 }) }), {
      maxLength: 60,
    })
    fc.assert(
      fc.property(steps, (all) => {
        const allowance = of(600)
        const used: [at: number, tokens: number][] = []
        let now = 0
        for (const { pause, tokens } of all) {
          now += pause
          now += allowance.waitMs('a', tokens, now)
          expect(allowance.waitMs('a', tokens, now)).toBe(0)
          allowance.take('a', tokens, now)
          used.push([now, tokens])
        }
        used.forEach(([from], i) => {
          let sum = 0
          for (const [at, tokens] of used.slice(i)) {
            sum += tokens
            expect(sum).toBeLessThanOrEqual(600 + ((at - from) * 600) / 60_000 + 900 + 1e-3)
          }
        })
      }),
    )
  })
})
