import { describe, expect, it } from 'vitest'
import { blockNames, PrefixCache } from './prefix-cache.ts'

const tokens = (...ids: number[]) => Int32Array.from(ids)
const block = (mark: number) => ({ keys: Float32Array.of(mark), values: Float32Array.of(-mark) })
const BLOCK_BYTES = 8

/** Adds all blocks of a prompt of as many blocks, marked 1, 2, ... */
function fill(cache: PrefixCache, names: readonly string[], weights = 'w') {
  names.forEach((_, i) => {
    cache.add(names.slice(0, i + 1), weights, block(i + 1))
  })
}
const marks = (cache: PrefixCache, names: readonly string[]) => cache.find(names).map(({ keys }) => keys[0])

describe('names of blocks', () => {
  const names = (scope: string, weights: string, ...ids: number[]) => blockNames(scope, weights, tokens(...ids), 2)

  it('are equal as far as prompts are, whole blocks only', () => {
    const [one, two] = [names('a', 'w', 1, 2, 3, 4, 5), names('a', 'w', 1, 2, 3, 5, 5)]
    expect(one).toHaveLength(2)
    expect(one[0]).toBe(two[0])
    expect(one[1]).not.toBe(two[1])
    expect(blockNames('a', 'w', tokens(9, 1, 2, 3, 4).subarray(1), 2)).toEqual(one)
  })

  it('differ with what came before, with the weights and with whose they are', () => {
    const all = [
      names('a', 'w', 1, 2, 1, 2),
      names('b', 'w', 1, 2),
      names('a', 'v', 1, 2),
      names('', 'aw', 1, 2),
    ].flat()
    expect(new Set(all).size).toBe(5)
  })
})

describe('the prefix cache', () => {
  it('finds what is known without a gap from the first block on', () => {
    const cache = new PrefixCache(1000)
    fill(cache, ['a', 'b', 'c'])
    expect(marks(cache, ['a', 'b', 'x', 'c'])).toEqual([1, 2])
    expect(marks(cache, ['b', 'c'])).toEqual([2, 3])
    expect(marks(cache, ['x', 'a'])).toEqual([])
    expect(cache.bytes).toBe(3 * BLOCK_BYTES)
  })

  it('lets the least recently used go, a prompt from its end', () => {
    const cache = new PrefixCache(4 * BLOCK_BYTES)
    fill(cache, ['a1', 'a2', 'a3'])
    fill(cache, ['b1', 'b2'])
    expect(marks(cache, ['a1', 'a2', 'a3'])).toEqual([1, 2])
    fill(cache, ['c1', 'c2'])
    expect(marks(cache, ['b1', 'b2'])).toEqual([])
    expect(marks(cache, ['a1', 'a2'])).toEqual([1, 2])
    expect(cache.bytes).toBe(4 * BLOCK_BYTES)
  })

  it('keeps the beginning of a prompt that is larger than the budget', () => {
    const cache = new PrefixCache(2 * BLOCK_BYTES)
    fill(cache, ['a', 'b', 'c', 'd'])
    expect(marks(cache, ['a', 'b', 'c', 'd'])).toEqual([1, 2])
    fill(new PrefixCache(0), ['a'])
  })

  it('forgets all of some weights and nothing else', () => {
    const cache = new PrefixCache(1000)
    fill(cache, ['a', 'b'], 'old')
    fill(cache, ['x', 'y'], 'new')
    cache.forget('old')
    expect(marks(cache, ['a', 'b'])).toEqual([])
    expect(marks(cache, ['x', 'y'])).toEqual([1, 2])
    expect(cache.bytes).toBe(2 * BLOCK_BYTES)
  })
})
