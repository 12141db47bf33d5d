import { describe, expect, it } from 'vitest'
import { bytesPerToken, capacityFor, KvCache } from './kv-cache.ts'

const SHAPE = { layers: 2, kvHeads: 2, headDim: 4 }

/** What the graph returns for `count` new tokens of each row: every number tells layer, row, head and position. */
function step(cache: KvCache, count: number, label: (row: number) => number, isValue = false): Float32Array {
  const out: number[] = []
  for (let layer = 0; layer < SHAPE.layers; layer++) {
    for (let row = 0; row < cache.rows; row++) {
      for (let head = 0; head < SHAPE.kvHeads; head++) {
        for (let i = 0; i < count; i++) {
          const number = label(row) * 1000 + layer * 500 + head * 250 + cache.length(row) + i
          for (let d = 0; d < SHAPE.headDim; d++) out.push(isValue ? -number : number)
        }
      }
    }
  }
  return Float32Array.from(out)
}

function grow(cache: KvCache, count: number, label: (row: number) => number): void {
  cache.reserve(count)
  cache.append(step(cache, count, label), step(cache, count, label, true), count)
}

/** First numbers of all positions of one row and head in the feed of a layer. */
function read(cache: KvCache, name: 'keys' | 'values', layer: number, row: number, head: number): number[] {
  const { data, dims } = cache.feeds()[`${name}.${layer}`] as { data: Float32Array; dims: number[] }
  const capacity = name === 'keys' ? (dims[2] as number) : (dims[2] as number) * (dims[3] as number)
  const start = (row * SHAPE.kvHeads + head) * capacity * SHAPE.headDim
  return Array.from({ length: capacity }, (_, i) => data[start + i * SHAPE.headDim] as number)
}

function expectRow(cache: KvCache, row: number, label: number, length: number): void {
  expect(cache.length(row)).toBe(length)
  for (let layer = 0; layer < SHAPE.layers; layer++) {
    for (let head = 0; head < SHAPE.kvHeads; head++) {
      const numbers = Array.from({ length }, (_, i) => label * 1000 + layer * 500 + head * 250 + i)
      const keys = read(cache, 'keys', layer, row, head)
      expect(keys.slice(0, length)).toEqual(numbers)
      expect(keys.slice(length).every((x) => x === 0)).toBe(true)
      expect(read(cache, 'values', layer, row, head).slice(0, length)).toEqual(numbers.map((x) => -x))
    }
  }
}

describe('KvCache', () => {
  it('keeps rows through growth of length and of rows', () => {
    const cache = new KvCache(SHAPE)
    const labels = [1, 2]
    cache.add()
    cache.add()
    for (const count of [3, 61, 1, 64, 70]) grow(cache, count, (row) => labels[row] as number)
    for (let row = 2; row < 9; row++) cache.add()
    expectRow(cache, 0, 1, 199)
    expectRow(cache, 1, 2, 199)
    expectRow(cache, 8, 0, 0)
  })

  it('moves the last row into a freed one and leaves zeros behind', () => {
    const cache = new KvCache(SHAPE)
    for (let row = 0; row < 3; row++) cache.add()
    grow(cache, 5, (row) => row + 1)
    expect(cache.remove(0)).toBe(2)
    expectRow(cache, 0, 3, 5)
    expectRow(cache, 1, 2, 5)
    expect(cache.add()).toBe(2)
    expectRow(cache, 2, 0, 0)
  })

  it('never shows what a former row left, not even NaN', () => {
    const cache = new KvCache(SHAPE)
    cache.add()
    cache.reserve(2)
    const poison = new Float32Array(SHAPE.layers * SHAPE.kvHeads * 2 * SHAPE.headDim).fill(Number.NaN)
    cache.append(poison, poison, 2)
    cache.remove(0)
    cache.add()
    for (const name of ['keys', 'values'] as const) {
      expect(read(cache, name, 1, 0, 1).every((x) => x === 0)).toBe(true)
    }
  })

  it('copies a row of another cache', () => {
    const prompt = new KvCache(SHAPE)
    prompt.add()
    grow(prompt, 64, () => 7)
    grow(prompt, 6, () => 7)
    const cache = new KvCache(SHAPE)
    cache.add()
    grow(cache, 2, () => 1)
    expect(cache.addCopy(prompt, 0)).toBe(1)
    expectRow(cache, 0, 1, 2)
    expectRow(cache, 1, 7, 70)
  })

  it('has a capacity of a multiple of 64 that wastes little', () => {
    for (const length of [1, 63, 64, 65, 200, 513, 1000, 5000, 40_000]) {
      expect(capacityFor(length) % 64).toBe(0)
      expect(capacityFor(length)).toBeGreaterThanOrEqual(length)
      expect(capacityFor(length)).toBeLessThan(Math.max(65, length * 1.4 + 1, length + 65))
    }
  })

  it('says how much memory it takes, and gives it back', () => {
    const cache = new KvCache(SHAPE)
    cache.add()
    expect(bytesPerToken(SHAPE)).toBe(2 * 2 * 4 * 2 * 4)
    expect(cache.bytes).toBe(64 * bytesPerToken(SHAPE))
    expect(() => cache.free()).toThrow(/1 rows in use/)
    cache.remove(0)
    cache.free()
    expect(cache.bytes).toBe(0)
    cache.add()
    grow(cache, 2, () => 1)
    expectRow(cache, 0, 1, 2)
  })

  it('gives back what a long sequence took once it is gone, and keeps the others as they are', () => {
    const cache = new KvCache(SHAPE)
    cache.add()
    grow(cache, 1000, () => 1)
    const long = cache.bytes
    const prompt = new KvCache(SHAPE)
    prompt.add()
    grow(prompt, 70, () => 2)
    for (let i = 0; i < 3; i++) cache.addCopy(prompt, 0)
    cache.remove(0)
    cache.trim()
    expect(cache.bytes).toBeLessThan(long)
    for (let row = 0; row < 3; row++) expectRow(cache, row, 2, 70)
  })
})
