// Thousands of tenants, light and heavy, in bursts, with weights and limits, from a seed, before a simulated engine. Bounds are
// checked over the whole history.

import { describe, expect, it } from 'vitest'
import { costOf } from './tenant.ts'
import { generator, MICRO_BATCH, MS_PER_TOKEN, type Op, Simulation } from './testing/simulation.ts'

/** In the order of their ids, for each adapter and for those that started. */
function expectOrderPerAdapter(simulation: Simulation): void {
  const last = new Map<string, number>()
  for (const { op } of simulation.ended) {
    expect(op.id).toBeGreaterThan(last.get(op.run.id) ?? -1)
    last.set(op.run.id, op.id)
  }
}

describe('thousands of tenants', () => {
  it.each([1, 2, 3])('in bursts get everything done once, in the order of each adapter (seed %i)', (seed) => {
    const random = generator(seed)
    const simulation = new Simulation({ weights: (tenant) => 1 + (Number(tenant) % 3) })
    let submitted = 0
    for (let burst = 0; burst < 20; burst++) {
      const tenants = 1 + Math.floor(random() * 400)
      for (let i = 0; i < tenants; i++) {
        const tenant = `${Math.floor(random() ** 2 * 3000)}`
        const run = `${tenant}/${Math.floor(random() * 4)}`
        const tokens = Math.ceil(random() < 0.02 ? 20_000 * random() : 800 * random())
        for (let j = 0; j < 3; j++, submitted++) simulation.submit(tenant, run, tokens, j === 2 ? 'optim' : 'train')
      }
      simulation.run(simulation.now + 300 * random())
    }
    simulation.run()
    expect(simulation.ended).toHaveLength(submitted)
    expect(new Set(simulation.ended.map(({ op }) => op.id)).size).toBe(submitted)
    expectOrderPerAdapter(simulation)
    expect(simulation.dispatcher.next(simulation.now)).toEqual([])
  })

  it('wait for no more than one micro-batch of each of those that are busy', () => {
    const random = generator(7)
    const simulation = new Simulation()
    const busy = 1000
    const refill = () => {
      for (let i = 0; i < busy; i++) simulation.submit(`busy ${i}`, `busy ${i}`, 500 + Math.floor(random() * 12_000))
    }
    refill()
    let light: Op[] = []
    for (let i = 0; i < 30; i++) {
      simulation.run(simulation.now + 2000 * random())
      light = [...light, simulation.submit(`light ${i % 5}`, `light ${i}`, 100)]
    }
    refill()
    simulation.run()
    const bound = (busy + 2) * MICRO_BATCH * MS_PER_TOKEN
    for (const op of light) {
      const at = simulation.ended.find((ended) => ended.op === op)?.at ?? Number.POSITIVE_INFINITY
      expect(at - op.submitted).toBeLessThanOrEqual(bound)
    }
  })

  it('wait for two micro-batches, whoever is busy, when they come for the first time in a while', () => {
    const simulation = new Simulation()
    for (let i = 0; i < 1000; i++) simulation.submit(`busy ${i}`, `busy ${i}`, 20_000)
    // Once everybody has had a turn.
    simulation.run(1001 * MICRO_BATCH * MS_PER_TOKEN)
    const light: Op[] = []
    for (let i = 0; i < 50; i++) {
      simulation.run(simulation.now + 333)
      light.push(simulation.submit(`light ${i}`, `light ${i}`, 100))
    }
    simulation.run(simulation.now + 333)
    const delays = light.map((op) => (simulation.ended.find((e) => e.op === op)?.at ?? Infinity) - op.submitted)
    expect(Math.max(...delays)).toBeLessThanOrEqual(2 * MICRO_BATCH * MS_PER_TOKEN + 1e-6)
  })

  it('cost the scheduler the logarithm of their number, not their number', () => {
    const steps = (tenants: number) => {
      const simulation = new Simulation()
      for (let round = 0; round < 4; round++) {
        for (let i = 0; i < tenants; i++) simulation.submit(`${i}`, `${i}`, 50)
      }
      simulation.run()
      expect(simulation.ended).toHaveLength(4 * tenants)
      return simulation.dispatcher.steps / (4 * tenants)
    }
    const [few, many] = [steps(64), steps(4096)]
    expect(many).toBeLessThan(few + 60)
  })
})

describe('shares', () => {
  it('follow the weights over any time in which all want more, within a few micro-batches', () => {
    const random = generator(11)
    const weights: Record<string, number> = { one: 1, two: 2, five: 5, half: 0.5 }
    const simulation = new Simulation({ weights: (tenant) => weights[tenant] ?? 1 })
    for (const tenant of Object.keys(weights)) {
      for (let i = 0; i < 300; i++) {
        const large = tenant === 'two' && i % 10 === 0
        simulation.submit(tenant, `${tenant}/${i % 7}`, large ? 30_000 : 50 + Math.floor(random() * 900))
      }
    }
    simulation.run(900)
    for (let i = 0; i < 300; i++) {
      const [from, to] = [random() * 900, random() * 900].sort((a, b) => a - b) as [number, number]
      const given = simulation.tokens(from, to)
      const served = Object.entries(weights).map(([tenant, weight]) => ({
        weight,
        time: (given.get(tenant) ?? 0) / weight,
      }))
      for (const a of served) {
        for (const b of served) {
          // That of start-time fair queueing for turns of a micro-batch, and as much again: what a tenant has with the
          // engine may fill less than a micro-batch, and is filled up behind it.
          const bound = (2 * MICRO_BATCH) / a.weight + (2 * MICRO_BATCH) / b.weight
          expect(a.time - b.time).toBeLessThanOrEqual(bound)
        }
      }
    }
  })

  it('of a tenant with a thousand adapters are those of one with a single one', () => {
    const simulation = new Simulation()
    for (let i = 0; i < 1000; i++) simulation.submit('many', `many/${i}`, 200)
    for (let i = 0; i < 200; i++) simulation.submit('single', 'single', 200)
    simulation.run(300)
    const given = simulation.tokens(0, simulation.now)
    expect(Math.abs((given.get('many') ?? 0) - (given.get('single') ?? 0))).toBeLessThanOrEqual(2 * MICRO_BATCH)
  })

  it('begin when one comes: who stayed away gets its part from then on, and no more', () => {
    const simulation = new Simulation()
    simulation.submit('late', 'late', 100)
    for (let i = 0; i < 2000; i++) simulation.submit('busy', `busy/${i % 5}`, 500)
    simulation.run(5000)
    for (let i = 0; i < 200; i++) simulation.submit('late', 'late', 500)
    simulation.run(5400)
    const given = simulation.tokens(5000, simulation.now)
    expect(Math.abs((given.get('late') ?? 0) - (given.get('busy') ?? 0))).toBeLessThanOrEqual(2 * MICRO_BATCH)
  })

  it('of adapters of one tenant are equal', () => {
    const simulation = new Simulation()
    for (let i = 0; i < 100; i++) simulation.submit('anna', 'a', 700)
    for (let i = 0; i < 700; i++) simulation.submit('anna', 'b', 100)
    simulation.run(350)
    const byRun = new Map<string, number>()
    for (const { op } of simulation.ended) byRun.set(op.run.id, (byRun.get(op.run.id) ?? 0) + op.cost)
    expect(Math.abs((byRun.get('a') ?? 0) - (byRun.get('b') ?? 0))).toBeLessThanOrEqual(9000)
  })

  it('leave nothing unused: the engine works as long as anybody has something to do', () => {
    const random = generator(5)
    const simulation = new Simulation()
    let tokens = 0
    for (let i = 0; i < 3000; i++) {
      const op = simulation.submit(`${Math.floor(random() * 500)}`, `run ${i}`, 64 + Math.floor(random() * 400))
      tokens += costOf(op)
    }
    simulation.run()
    expect(simulation.now).toBeCloseTo(tokens * MS_PER_TOKEN, 3)
  })
})

describe('limits', () => {
  it('are never exceeded over any minute by more than the burst and the largest operation, and nobody is forgotten', () => {
    const random = generator(13)
    const rate = 60_000
    const simulation = new Simulation({ rates: (tenant) => (Number(tenant) < 50 ? rate : null) })
    let submitted = 0
    for (let i = 0; i < 2000; i++, submitted++) {
      const tenant = `${Math.floor(random() * 100)}`
      simulation.submit(tenant, `${tenant}/${i % 3}`, 1 + Math.floor(random() ** 3 * 40_000))
    }
    simulation.run()
    expect(simulation.ended).toHaveLength(submitted)
    for (let tenant = 0; tenant < 50; tenant++) {
      const own = simulation.started.filter(([, op]) => op.run.tenant === `${tenant}`)
      own.forEach(([from], i) => {
        let sum = 0
        for (const [at, op] of own.slice(i)) {
          sum += op.tokens
          expect(sum).toBeLessThanOrEqual(rate + ((at - from) / 60_000) * rate + 40_000 + 1)
        }
      })
    }
    expectOrderPerAdapter(simulation)
  })

  it('of one tenant do not hold up others', () => {
    const simulation = new Simulation({ rates: (tenant) => (tenant === 'limited' ? 1000 : null) })
    for (let i = 0; i < 50; i++) simulation.submit('limited', `limited/${i}`, 500)
    for (let i = 0; i < 100; i++) simulation.submit('free', `free/${i}`, 500)
    simulation.run(1000)
    expect(simulation.ended.filter(({ op }) => op.run.tenant === 'free')).toHaveLength(100)
    expect(simulation.ended.filter(({ op }) => op.run.tenant === 'limited').length).toBeLessThanOrEqual(2)
  })
})
