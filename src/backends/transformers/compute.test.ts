import { describe, expect, it } from 'vitest'
import { Compute } from './compute.ts'

/** Runs pieces by name and says in which order they ran. */
function recorder() {
  const ran: string[] = []
  let running = 0
  const piece = (name: string) => async () => {
    expect(++running, 'one piece at a time').toBe(1)
    ran.push(name)
    await new Promise(setImmediate)
    running--
    return name
  }
  return { ran, piece }
}

describe('compute', () => {
  it('runs one piece at a time, in order, and answers each', async () => {
    const { ran, piece } = recorder()
    const compute = new Compute()
    const results = await Promise.all(['a', 'b', 'c'].map((name) => compute.run(piece(name))))
    expect(results).toEqual(['a', 'b', 'c'])
    expect(ran).toEqual(['a', 'b', 'c'])
  })

  it('lets lanes take turns, however much one of them has to do', async () => {
    const { ran, piece } = recorder()
    const training = new Compute()
    const sampling = training.lane()
    const work = ['t1', 't2', 't3', 't4', 't5'].map((name) => training.run(piece(name)))
    work.push(sampling.run(piece('s1')), sampling.run(piece('s2')))
    await Promise.all(work)
    expect(ran).toEqual(['t1', 's1', 't2', 's2', 't3', 't4', 't5'])
  })

  it('gives a lane that asks for its next piece after the last one every second turn', async () => {
    const { ran, piece } = recorder()
    const training = new Compute()
    const sampling = training.lane()
    const work = ['t1', 't2', 't3', 't4'].map((name) => training.run(piece(name)))
    for (const name of ['s1', 's2', 's3']) await sampling.run(piece(name))
    await Promise.all(work)
    expect(ran).toEqual(['t1', 's1', 't2', 's2', 't3', 's3', 't4'])
  })

  it('goes on after a piece that fails', async () => {
    const compute = new Compute()
    const failed = compute.run(async () => {
      throw new Error('out of memory')
    })
    const next = compute.run(async () => 'next')
    await expect(failed).rejects.toThrow('out of memory')
    await expect(next).resolves.toBe('next')
  })

  it('lets the event loop run between pieces', async () => {
    const compute = new Compute()
    let ticks = 0
    const ticking = setInterval(() => ticks++, 0)
    const block = async () => {
      const end = performance.now() + 5
      while (performance.now() < end);
    }
    await Promise.all(Array.from({ length: 10 }, () => compute.run(block)))
    clearInterval(ticking)
    expect(ticks).toBeGreaterThan(3)
  })
})
