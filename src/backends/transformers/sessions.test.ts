import sinon from 'sinon'
import { describe, expect, it } from 'vitest'
import type { Runner } from './runner.ts'
import { Sessions } from './sessions.ts'

const fake = () => ({ release: sinon.fake.resolves(undefined) })
const asRunner = (runner: ReturnType<typeof fake>) => async () => runner as unknown as Runner

describe('Sessions', () => {
  it('makes a session once', async () => {
    const sessions = new Sessions(2)
    const create = sinon.fake(asRunner(fake()))
    expect(await sessions.get('a', create)).toBe(await sessions.get('a', create))
    expect(create.callCount).toBe(1)
  })

  it('releases the one used longest ago when there is no room', async () => {
    const sessions = new Sessions(2)
    const [a, b, c] = [fake(), fake(), fake()]
    await sessions.get('a', asRunner(a))
    await sessions.get('b', asRunner(b))
    await sessions.get('a', asRunner(a))
    await sessions.get('c', asRunner(c))
    expect([a, b, c].map((r) => r.release.callCount)).toEqual([0, 1, 0])
    const again = sinon.fake(asRunner(b))
    await sessions.get('b', again)
    expect(again.callCount).toBe(1)
  })

  it('forgets one that could not be made, so that the next try can', async () => {
    const sessions = new Sessions(1)
    await expect(sessions.get('a', () => Promise.reject(new Error('no memory')))).rejects.toThrow('no memory')
    const runner = fake()
    expect(await sessions.get('a', asRunner(runner))).toBe(runner)
  })

  it('releases all at the end', async () => {
    const sessions = new Sessions(3)
    const all = [fake(), fake()]
    await sessions.get('a', asRunner(all[0] as ReturnType<typeof fake>))
    await sessions.get('b', asRunner(all[1] as ReturnType<typeof fake>))
    await sessions.close()
    expect(all.map((r) => r.release.callCount)).toEqual([1, 1])
  })
})
