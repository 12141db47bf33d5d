import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { FairTurns } from './fair-turns.ts'

const turnsOf = (...members: [name: string, weight?: number][]) => {
  const turns = new FairTurns<string>()
  for (const [name, weight] of members) turns.join(name, name, weight)
  return turns
}
/** Gives turns of a cost until `total` has been given, and says how much each got. */
function serve(turns: FairTurns<string>, total: number, cost: (name: string) => number) {
  const given: Record<string, number> = {}
  for (let left = total; left > 0; ) {
    const name = turns.first as string
    given[name] = (given[name] ?? 0) + cost(name)
    left -= cost(name)
    turns.charge(name, cost(name))
  }
  return given
}

describe('fair turns', () => {
  it('give each the part of its weight, whatever the size of its turns', () => {
    const given = serve(turnsOf(['small', 1], ['large', 1], ['heavy', 3]), 100_000, (n) => (n === 'large' ? 1000 : 7))
    expect(Math.abs((given.small ?? 0) - 20_000)).toBeLessThan(1100)
    expect(Math.abs((given.large ?? 0) - 20_000)).toBeLessThan(1100)
    expect(Math.abs((given.heavy ?? 0) - 60_000)).toBeLessThan(1100)
  })

  it('serve one who comes later at once, but do not make up for the time before', () => {
    const turns = turnsOf(['busy'])
    serve(turns, 1_000_000, () => 10)
    turns.join('late', 'late')
    expect([...turns.inOrder()]).toContain('late')
    const given = serve(turns, 1000, () => 10)
    expect(Math.abs((given.late ?? 0) - (given.busy ?? 0))).toBeLessThanOrEqual(10)
  })

  it('remember what somebody owes who leaves and comes again', () => {
    const turns = turnsOf(['a'], ['b'])
    turns.charge('a', 1000)
    turns.leave('a')
    turns.join('a', 'a')
    const given = serve(turns, 1000, () => 100)
    expect(given).toEqual({ b: 1000 })
  })

  it('take back what was charged too much', () => {
    const turns = turnsOf(['a'], ['b'])
    turns.charge('a', 1000)
    turns.charge('a', -990)
    expect(serve(turns, 200, () => 10)).toEqual({ a: 100, b: 100 })
  })

  it('forget those who left and owe nothing, and all of them at rest', () => {
    const turns = turnsOf(['stays'])
    for (let i = 0; i < 1000; i++) {
      turns.join(`guest ${i}`, '')
      turns.leave(`guest ${i}`)
    }
    expect(turns.size).toBe(1)
    turns.charge('guest 999', 50)
    turns.settle()
    turns.join('guest 999', 'guest 999')
    turns.charge('stays', 1)
    expect(turns.first).toBe('guest 999')
  })

  it('are read in order, by nobody changed', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(50), { minLength: 1, maxLength: 60 }), (costs) => {
        const turns = turnsOf(...costs.map((_, i): [string] => [`${i}`]))
        costs.forEach((cost, i) => void turns.charge(`${i}`, cost))
        const times = [...turns.inOrder()].map((name) => costs[Number(name)])
        expect(times).toEqual(costs.toSorted((a, b) => a - b))
      }),
    )
  })

  it('keep every two members that always want more within one turn of each other, by weight', () => {
    const members = fc.array(
      fc.record({ weight: fc.integer({ min: 1, max: 5 }), cost: fc.integer({ min: 1, max: 100 }) }),
      {
        minLength: 2,
        maxLength: 12,
      },
    )
    fc.assert(
      fc.property(members, (kinds) => {
        const turns = turnsOf(...kinds.map(({ weight }, i): [string, number] => [`${i}`, weight]))
        const given = serve(turns, 5000, (name) => kinds[Number(name)]?.cost ?? 0)
        const times = kinds.map(({ weight }, i) => (given[i] ?? 0) / weight)
        const bound = Math.max(...kinds.map(({ cost, weight }) => cost / weight))
        expect(Math.max(...times) - Math.min(...times)).toBeLessThanOrEqual(bound + 1e-6)
      }),
    )
  })

  it('cost the logarithm of their number a turn, also when many come and go', () => {
    const turns = turnsOf(...Array.from({ length: 4096 }, (_, i): [string] => [`${i}`]))
    const before = turns.steps
    for (let i = 0; i < 4096; i++) {
      const name = turns.first as string
      turns.charge(name, 1 + (i % 7))
      turns.leave(name)
      turns.join(name, name)
    }
    expect((turns.steps - before) / 4096).toBeLessThan(100)
  })
})
