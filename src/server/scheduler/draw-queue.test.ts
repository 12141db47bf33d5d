import { describe, expect, it } from 'vitest'
import { Allowance } from './allowance.ts'
import { type Drawable, DrawQueue } from './draw-queue.ts'

interface Sample extends Drawable {
  readonly name: string
}
const sample = (tenant: string, more: Partial<Sample> = {}): Sample => {
  return { name: tenant, tenant, sequences: 1, most: 100, ...more }
}

interface Limits {
  readonly rate?: (tenant: string) => number | null
  readonly concurrency?: (tenant: string) => number | null
  readonly weights?: Record<string, number>
}
const queueOf = ({ rate = () => null, concurrency = () => null, weights = {} }: Limits = {}) =>
  new DrawQueue<Sample>({
    weightOf: (tenant) => weights[tenant] ?? 1,
    concurrencyOf: concurrency,
    allowance: new Allowance(rate),
    running: new Map(),
  })
const fill = (queue: DrawQueue<Sample>, tenant: string, count: number, more: Partial<Sample> = {}) => {
  const all = Array.from({ length: count }, (_, i) => sample(tenant, { name: `${tenant} ${i}`, ...more }))
  for (const one of all) queue.push(one)
  return all
}
const tenants = (items: readonly Sample[]) => items.map(({ tenant }) => tenant)

describe('samples', () => {
  it('fill the engine, but for places that are kept for tenants with nothing there', () => {
    const queue = queueOf()
    fill(queue, 'busy', 200)
    const first = queue.next(0)
    expect(first).toHaveLength(72)
    fill(queue, 'late', 2)
    expect(tenants(queue.next(0))).toEqual(['late'])
    queue.done(first[0] as Sample, 100, 0)
    expect(queue.next(0)).toEqual([])
    const next = [1, 2].flatMap((i) => {
      queue.done(first[i] as Sample, 100, 0)
      return queue.next(0)
    })
    expect(tenants(next)).toContain('late')
  })

  it('are shared by weight in tokens, not in requests', () => {
    const queue = queueOf({ weights: { heavy: 2 } })
    fill(queue, 'short', 2000, { most: 10 })
    fill(queue, 'long', 2000, { most: 200 })
    fill(queue, 'heavy', 2000, { most: 50 })
    const given: Record<string, number> = {}
    let running = queue.next(0)
    for (let i = 0; i < 1500; i++) {
      const done = running.shift() as Sample
      given[done.tenant] = (given[done.tenant] ?? 0) + done.most
      queue.done(done, done.most, 0)
      running = [...running, ...queue.next(0)]
    }
    const [short, long, heavy] = [given.short ?? 0, given.long ?? 0, given.heavy ?? 0]
    expect(Math.abs(short / long - 1)).toBeLessThan(0.1)
    expect(Math.abs(heavy / long / 2 - 1)).toBeLessThan(0.1)
  })

  it('are charged for what was drawn: who asks for much and takes little loses nothing, once that is known', () => {
    const queue = queueOf()
    fill(queue, 'careful', 3000, { most: 4000 })
    fill(queue, 'exact', 3000, { most: 40 })
    let running = queue.next(0)
    const given: Record<string, number> = { careful: 0, exact: 0 }
    for (let i = 0; i < 4000; i++) {
      const done = running.shift() as Sample
      if (i > 1000) given[done.tenant] = (given[done.tenant] ?? 0) + 40
      queue.done(done, 40, 0)
      running = [...running, ...queue.next(0)]
    }
    expect(Math.abs((given.careful ?? 0) / (given.exact ?? 1) - 1)).toBeLessThan(0.1)
  })

  it('of one request count as many as the engine draws at once, so that nobody waits for a thousand', () => {
    const queue = queueOf()
    queue.push(sample('anna', { sequences: 1000 }))
    fill(queue, 'bert', 3)
    expect(queue.next(0)).toHaveLength(4)
  })

  it('that nobody wants any more leave the queue', () => {
    const queue = queueOf()
    const all = fill(queue, 'anna', 80)
    expect(queue.next(0)).toHaveLength(72)
    expect(queue.remove(all[79] as Sample)).toBe(true)
    expect(queue.remove(all[0] as Sample)).toBe(false)
    expect([...queue.tenants.values()].map(({ items }) => items.size)).toEqual([7])
  })
})

describe('limits', () => {
  it('hold a tenant to as many sequences at a time as it may have, on all engines together', () => {
    const running = new Map<string, number>()
    const rules = { weightOf: () => 1, concurrencyOf: () => 4, allowance: new Allowance(() => null), running }
    const [one, two] = [new DrawQueue<Sample>(rules), new DrawQueue<Sample>(rules)]
    fill(one, 'anna', 3)
    const [waiting] = fill(two, 'anna', 3, { sequences: 2 })
    const first = one.next(0)
    expect([first.length, two.next(0).length]).toEqual([3, 0])
    expect(two.standing(waiting as Sample, 0)).toEqual({ state: 'full', ahead: 0 })
    one.done(first[0] as Sample, 10, 0)
    two.freed('anna')
    expect(two.next(0)).toHaveLength(1)
    expect(running.get('anna')).toBe(4)
  })

  it('let one request go alone that is more than the limit', () => {
    const queue = queueOf({ concurrency: () => 4 })
    fill(queue, 'anna', 2, { sequences: 8 })
    expect(queue.next(0)).toHaveLength(1)
  })

  it('of tokens hold by what may be drawn and let go by what was', () => {
    const queue = queueOf({ rate: (tenant) => (tenant === 'anna' ? 600 : null) })
    const [first, second] = fill(queue, 'anna', 2, { most: 600 }) as [Sample, Sample]
    fill(queue, 'bert', 1)
    expect(queue.next(0).length).toBe(2)
    expect(queue.nextTime).toBe(60_000)
    expect(queue.standing(second, 0)).toEqual({ state: 'held', ahead: 0, waitMs: 60_000 })
    queue.done(first, 100, 10_000)
    expect(queue.next(10_000)).toEqual([second])
  })

  it('that change are looked at again', () => {
    let limit = 1
    const queue = queueOf({ concurrency: () => limit })
    fill(queue, 'anna', 3)
    expect(queue.next(0)).toHaveLength(1)
    limit = 3
    queue.reconsider()
    expect(queue.next(0)).toHaveLength(2)
  })
})

it('a place in the queue counts own requests, and those of others as far as they go first', () => {
  const queue = queueOf()
  fill(queue, 'anna', 72)
  queue.next(0)
  fill(queue, 'bert', 40)
  queue.next(0)
  const mine = fill(queue, 'anna', 5)
  const place = queue.standing(mine[4] as Sample, 0)
  expect(place).toMatchObject({ state: 'waiting', others: 1 })
  expect(place?.state === 'waiting' && place.ahead).toBeGreaterThanOrEqual(4)
})
