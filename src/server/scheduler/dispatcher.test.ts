import { describe, expect, it } from 'vitest'
import { Allowance } from './allowance.ts'
import { Dispatcher } from './dispatcher.ts'
import { standingOf } from './standing.ts'
import type { Group, Schedulable } from './tenant.ts'

interface Op extends Schedulable {
  readonly name: string
}
const NO_LIMIT = new Allowance(() => null)

function op(name: string, tenant: string, run: string, more: Partial<Op> = {}): Op {
  const tokens = more.tokens ?? more.cost ?? 100
  return { name, run: { id: run, tenant }, batchClass: 'train', cost: tokens, tokens, ...more }
}
const optim = { batchClass: 'optim', cost: 0, tokens: 0 } as const
const single = { batchClass: 'single', cost: 0, tokens: 0 } as const

function dispatcher(allowance = NO_LIMIT, weights: Record<string, number> = {}) {
  const rules = {
    weightOf: (tenant: string) => weights[tenant] ?? 1,
    rateOf: (t: string) => allowance.rateOf(t),
    allowance,
  }
  const dispatch = new Dispatcher<Op>(rules)
  return {
    dispatch,
    push: (...operations: Op[]) => void operations.map((operation) => dispatch.push(operation, 0)),
    standing: (operation: Op, now = 0) => standingOf(dispatch, operation, rules, now),
  }
}
const names = (groups: readonly Group<Op>[]) => groups.map(({ operations }) => operations.map(({ name }) => name))

describe('what goes to the engine', () => {
  it('is nothing when nothing is ready', () => {
    const { dispatch } = dispatcher()
    dispatch.push(op('two', 'anna', 'a'), 2)
    expect(dispatch.next(0)).toEqual([])
  })

  it('is of each adapter what comes next: passes in a row together, anything else alone and after them', () => {
    const { dispatch, push } = dispatcher()
    push(op('1', 'anna', 'a'), op('2', 'anna', 'a'), op('step', 'anna', 'a', optim), op('3', 'anna', 'a'))
    push(op('save', 'bert', 'b', single), op('4', 'bert', 'b'))
    const groups = dispatch.next(0)
    expect(names(groups)).toEqual([['1', '2'], ['save']])
    expect(dispatch.next(0)).toEqual([])
    for (const group of groups) dispatch.done(group)
    expect(names(dispatch.next(0))).toEqual([['step'], ['4']])
  })

  it('fills a window by weight, and what ends makes room', () => {
    const { dispatch, push } = dispatcher(NO_LIMIT, { heavy: 3 })
    for (let i = 0; i < 40; i++) push(op(`light ${i}`, 'light', `light ${i}`, { cost: 1000 }))
    for (let i = 0; i < 40; i++) push(op(`heavy ${i}`, 'heavy', `heavy ${i}`, { cost: 1000 }))
    const given = { light: 0, heavy: 0 }
    let under = dispatch.next(0)
    expect(under.length).toBeLessThanOrEqual(9)
    while (given.light + given.heavy < 32) {
      const done = under.shift() as Group<Op>
      given[done.adapter.tenant.id as keyof typeof given]++
      dispatch.done(done)
      under = [...under, ...dispatch.next(0)]
    }
    expect(Math.abs(given.heavy - 24)).toBeLessThanOrEqual(4)
  })

  it('always holds something of every tenant that has something, however full it is', () => {
    const { dispatch, push } = dispatcher()
    for (let i = 0; i < 30; i++) push(op(`busy ${i}`, 'busy', `busy ${i}`, { cost: 1000 }))
    dispatch.next(0)
    push(op('late', 'late', 'late'))
    expect(names(dispatch.next(0))).toEqual([['late']])
  })

  it('holds one large operation of each tenant, beside the short ones of its other adapters', () => {
    const { dispatch, push } = dispatcher()
    push(op('large 1', 'anna', 'a', { cost: 20_000 }), op('large 2', 'anna', 'b', { cost: 20_000 }))
    push(op('short', 'anna', 'c'), op('large 3', 'bert', 'd', { cost: 20_000 }))
    const groups = dispatch.next(0)
    expect(names(groups).flat().sort()).toEqual(['large 1', 'large 3', 'short'])
    dispatch.done(groups.find(({ operations }) => operations[0]?.name === 'large 1') as Group<Op>)
    expect(names(dispatch.next(0))).toEqual([['large 2']])
  })

  it('gives back what a run had waiting when it ends', () => {
    const { dispatch, push } = dispatcher()
    push(op('1', 'anna', 'a'), op('2', 'anna', 'a', single))
    const [group] = dispatch.next(0)
    expect(dispatch.end('a').map(({ name }) => name)).toEqual(['2'])
    dispatch.done(group as Group<Op>)
    expect(dispatch.next(0)).toEqual([])
    expect(dispatch.tenants.size).toBe(0)
  })
})

describe('an allowance', () => {
  const limited = (rate: number) => dispatcher(new Allowance((tenant) => (tenant === 'anna' ? rate : null)))

  it('holds passes that are over it until their time, and nothing else', () => {
    const { dispatch, push, standing } = limited(600)
    const [late, later] = [op('late', 'anna', 'b', { cost: 300 }), op('later', 'anna', 'c', { cost: 300 })]
    push(op('first', 'anna', 'a', { cost: 600 }), late, later, op('step', 'anna', 'd', optim), op('other', 'bert', 'e'))
    expect(names(dispatch.next(0)).flat().sort()).toEqual(['first', 'other', 'step'])
    expect(dispatch.nextTime).toBe(30_000)
    expect(standing(late)).toEqual({ state: 'held', ahead: expect.any(Number), waitMs: 30_000 })
    expect(standing(later)).toMatchObject({ state: 'held', waitMs: 60_000 })
    expect(dispatch.next(29_999)).toEqual([])
    expect(names(dispatch.next(30_000))).toEqual([['late']])
    expect(names(dispatch.next(60_000))).toEqual([['later']])
    expect(dispatch.nextTime).toBeNull()
  })

  it('that grows lets go at once whom it held', () => {
    let rate = 1
    const { dispatch, push } = dispatcher(new Allowance(() => rate))
    push(op('first', 'anna', 'a'), op('second', 'anna', 'b'))
    expect(names(dispatch.next(0))).toEqual([['first']])
    rate = 1e9
    dispatch.reconsider()
    expect(names(dispatch.next(1))).toEqual([['second']])
  })

  it('cuts a row of passes where it ends', () => {
    const { dispatch, push } = limited(250)
    push(...['1', '2', '3'].map((name) => op(name, 'anna', 'a')))
    const [group] = dispatch.next(0)
    expect(group?.operations).toHaveLength(2)
    dispatch.done(group as Group<Op>)
    expect(dispatch.next(0)).toEqual([])
    expect(names(dispatch.next(12_000))).toEqual([['3']])
  })
})

describe('the standing of what waits', () => {
  it('says which number has not come', () => {
    const { dispatch, standing } = dispatcher()
    const early = op('three', 'anna', 'a')
    dispatch.push(op('one', 'anna', 'a'), 1)
    dispatch.push(early, 3)
    expect(standing(early)).toEqual({ state: 'early', number: 2 })
  })

  it('counts what goes before it: of its own run, of its tenant, and of others up to as much', () => {
    const { dispatch, push, standing } = dispatcher()
    const last = op('last', 'anna', 'a', { cost: 1000 })
    for (let i = 0; i < 20; i++) push(op(`bert ${i}`, 'bert', `bert ${i}`, { cost: 1000 }))
    for (let i = 0; i < 12; i++) push(op(`anna ${i}`, 'anna', 'a', { cost: 1000 }))
    push(last)
    expect(dispatch.next(0).length).toBeGreaterThan(1)
    const place = standing(last)
    expect(place).toMatchObject({ state: 'waiting', others: 1 })
    if (place?.state !== 'waiting') return
    // Of bert as many as anna has before it, but for what is with the engine already.
    expect(place.ahead).toBeGreaterThanOrEqual(12 + 12 - 4)
    expect(place.ahead).toBeLessThanOrEqual(12 + 12 + 1)
    expect(place.cost).toBe(1000 * place.ahead)
  })

  it('is that of running once it is with the engine, and none when it is over', () => {
    const { dispatch, push, standing } = dispatcher()
    const only = op('only', 'anna', 'a')
    push(only)
    const [group] = dispatch.next(0)
    expect(standing(only)).toEqual({ state: 'running' })
    dispatch.done(group as Group<Op>)
    expect(standing(only)).toBeNull()
  })
})
