import { beforeEach, describe, expect, it } from 'vitest'
import { SharedSync } from './shared-sync.ts'

/** A disk whose syncs end when the test says so. */
let calls: string[]
let ends: ((cause?: Error) => void)[]
let disk: SharedSync
const slow = (name: string) => () => {
  calls.push(name)
  return new Promise<void>((resolve, reject) => ends.push((cause) => (cause ? reject(cause) : resolve())))
}
const end = async (cause?: Error) => {
  ends.shift()?.(cause)
  await new Promise(setImmediate)
}
const written = (done: string[], name: string) => {
  disk.note()
  return disk.reach().then(
    () => done.push(name),
    (cause: Error) => done.push(`${name}: ${cause.message}`),
  )
}

beforeEach(() => {
  calls = []
  ends = []
  disk = new SharedSync({ sync: slow('sync'), repair: slow('repair') })
})

describe('SharedSync', () => {
  it('has nothing to wait for where nothing was written', async () => {
    await disk.reach()
    expect(calls).toEqual([])
  })

  it('takes what is written while it syncs to the next one, which all of that shares', async () => {
    const done: string[] = []
    const all = ['a', 'b', 'c'].map((name) => written(done, name))
    expect(done).toEqual([])
    await end()
    // `b` and `c` were written after the first one had begun: it may have missed them.
    expect([done, calls]).toEqual([['a'], ['sync', 'sync']])
    await end()
    await Promise.all(all)
    expect([done.sort(), calls]).toEqual([
      ['a', 'b', 'c'],
      ['sync', 'sync'],
    ])
  })

  it('keeps readers waiting for what they may have read', async () => {
    disk.note()
    let isHeard = false
    void disk.reach()
    const reader = disk.reach().then(() => {
      isHeard = true
    })
    await new Promise(setImmediate)
    expect(isHeard).toBe(false)
    await end()
    await reader
    expect(calls).toEqual(['sync'])
  })

  it('trusts no sync after one has failed before a repair', async () => {
    const done: string[] = []
    await Promise.all([written(done, 'a'), end(new Error('broken'))])
    await Promise.all([disk.reach().catch(() => {}), end(new Error('still broken'))])
    await Promise.all([disk.reach(), end()])
    await Promise.all([written(done, 'b'), end()])
    expect(done).toEqual(['a: broken', 'b'])
    expect(calls).toEqual(['sync', 'repair', 'repair', 'sync'])
  })
})
