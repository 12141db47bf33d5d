import { describe, expect, it } from 'vitest'
import { Turns } from './turns.ts'

function deferred() {
  let resolve = () => {}
  const promise = new Promise<void>((r) => {
    resolve = r
  })
  return { promise, resolve }
}
/** Lets everything that can go on do so. */
const settle = () => new Promise(setImmediate)

describe('turns', () => {
  it('keep the order of arrival within a name, failures included', async () => {
    const turns = new Turns()
    const seen: string[] = []
    const first = deferred()
    const work = [
      turns.run('a', async () => {
        await first.promise
        seen.push('first')
      }),
      turns
        .run('a', () => {
          seen.push('second')
          throw new Error('second fails')
        })
        .catch((error) => seen.push(error.message)),
      turns.run('b', () => seen.push('b')),
      turns.run('a', () => seen.push('third')),
    ]
    await settle()
    expect(seen).toEqual(['b'])
    first.resolve()
    await Promise.all(work)
    expect(seen).toEqual(['b', 'first', 'second', 'second fails', 'third'])
  })

  it('of several names do not wait for each other in a circle', async () => {
    const turns = new Turns()
    const seen: string[] = []
    const all = [['a', 'b'], ['b', 'a'], ['a']].map(async (names, i) => {
      const turn = turns.take(names)
      await turn.ready
      seen.push(`${i}`)
      turn.allOver()
    })
    await Promise.all(all)
    expect(seen).toEqual(['0', '1', '2'])
  })

  it('give a name back before the others', async () => {
    const turns = new Turns()
    const turn = turns.take(['a', 'b'])
    await turn.ready
    turn.over('a')
    await turns.run('a', () => {})
    let reached = false
    const waiting = turns.run('b', () => {
      reached = true
    })
    await settle()
    expect(reached).toBe(false)
    turn.over('b')
    await waiting
  })

  it('pass by who gave up before it was its turn', async () => {
    const turns = new Turns()
    const first = turns.take(['a'])
    turns.take(['a']).allOver()
    const third = turns.take(['a'])
    first.allOver()
    await third.ready
  })
})
