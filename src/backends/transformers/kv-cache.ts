// Keys and values of the sequences of one batch. Rows 0 .. rows - 1 are in use without a gap and every buffer is laid out as
// the graph wants its input, so that a step feeds a view and copies nothing. Knows sizes; which sequence a row belongs to is
// the caller's.

import type { DecoderShape } from './adapter-layout.ts'
import { BLOCK } from './low-rank.ts'
import type { Feed } from './runner.ts'

export type CacheShape = Pick<DecoderShape, 'layers' | 'kvHeads' | 'headDim'>

export const bytesPerToken = ({ layers, kvHeads, headDim }: CacheShape): number => layers * kvHeads * headDim * 2 * 4

/** Tokens of room for a sequence of `length`: a multiple of 64, in steps of at most a third of it. */
export function capacityFor(length: number): number {
  const step = Math.max(BLOCK, 2 ** Math.floor(Math.log2(Math.max(length, 1)) - 1.5))
  return Math.ceil(Math.max(length, 1) / step) * step
}

export class KvCache {
  readonly #shape: CacheShape
  /** Per layer, [room, kvHeads, capacity, D]. */
  readonly #keys: Float32Array[] = []
  readonly #values: Float32Array[] = []
  #room = 0
  #capacity = 0
  readonly #lengths: number[] = []

  constructor(shape: CacheShape) {
    this.#shape = shape
  }

  get rows(): number {
    return this.#lengths.length
  }
  get bytes(): number {
    return this.#room * this.#capacity * bytesPerToken(this.#shape)
  }
  length(row: number): number {
    return this.#lengths[row] as number
  }

  /** Adds an empty row and returns its number. */
  add(): number {
    this.#fit(this.rows + 1, 1)
    return this.#lengths.push(0) - 1
  }

  /** Adds a row that starts as a copy of another cache's row. */
  addCopy(source: KvCache, row: number): number {
    const length = source.length(row)
    this.#fit(this.rows + 1, length)
    const target = this.#lengths.push(length) - 1
    this.#copyRow(source, row, target, length)
    return target
  }

  /** Frees a row; the last row takes its number. Returns the number that the moved row had. */
  remove(row: number): number {
    const last = this.rows - 1
    // What is left in a free row is multiplied by zero when the row is used again, and zero times NaN is NaN.
    this.#clearRow(row, this.length(row))
    if (row !== last) {
      this.#copyRow(this, last, row, this.length(last))
      this.#clearRow(last, this.length(last))
      this.#lengths[row] = this.length(last)
    }
    this.#lengths.pop()
    return last
  }

  /** Gives the memory back; only when no row is in use. */
  free(): void {
    if (this.rows > 0) throw new Error(`the cache has ${this.rows} rows in use`)
    this.#keys.length = 0
    this.#values.length = 0
    this.#room = 0
    this.#capacity = 0
  }

  /** Makes sure that each row has room for so many more tokens. */
  reserve(more: number): void {
    this.#fit(this.rows, Math.max(...this.#lengths) + more)
  }

  /** Appends `count` tokens to every row. `keys` and `values` [layers * rows, kvHeads, count, D] as the graph returns them. */
  append(keys: Float32Array, values: Float32Array, count: number): void {
    const { layers, kvHeads, headDim } = this.#shape
    const width = count * headDim
    let from = 0
    for (let layer = 0; layer < layers; layer++) {
      const layerKeys = this.#keys[layer] as Float32Array
      const layerValues = this.#values[layer] as Float32Array
      for (let row = 0; row < this.rows; row++) {
        for (let head = 0; head < kvHeads; head++, from += width) {
          const to = this.#offset(row, head) + this.length(row) * headDim
          layerKeys.set(keys.subarray(from, from + width), to)
          layerValues.set(values.subarray(from, from + width), to)
        }
      }
    }
    for (let row = 0; row < this.rows; row++) this.#lengths[row] = this.length(row) + count
  }

  /** The graph's inputs `lengths`, `keys.l` and `values.l`, views of the rows in use. */
  feeds(): Record<string, Feed> {
    const { layers, kvHeads, headDim } = this.#shape
    const rows = this.rows
    const size = rows * kvHeads * this.#capacity * headDim
    const feeds: Record<string, Feed> = { lengths: { data: BigInt64Array.from(this.#lengths, BigInt), dims: [rows] } }
    const blocks = this.#capacity / BLOCK
    for (let l = 0; l < layers; l++) {
      const keys = (this.#keys[l] as Float32Array).subarray(0, size)
      const values = (this.#values[l] as Float32Array).subarray(0, size)
      feeds[`keys.${l}`] = { data: keys, dims: [rows, kvHeads, this.#capacity, headDim] }
      feeds[`values.${l}`] = { data: values, dims: [rows, kvHeads, blocks, BLOCK, headDim] }
    }
    return feeds
  }

  #offset(row: number, head: number): number {
    return (row * this.#shape.kvHeads + head) * this.#capacity * this.#shape.headDim
  }

  #copyRow(source: KvCache, from: number, to: number, length: number): void {
    const { layers, kvHeads, headDim } = this.#shape
    for (let layer = 0; layer < layers; layer++) {
      for (let head = 0; head < kvHeads; head++) {
        const start = source.#offset(from, head)
        const end = start + length * headDim
        const target = this.#offset(to, head)
        ;(this.#keys[layer] as Float32Array).set((source.#keys[layer] as Float32Array).subarray(start, end), target)
        ;(this.#values[layer] as Float32Array).set((source.#values[layer] as Float32Array).subarray(start, end), target)
      }
    }
  }

  #clearRow(row: number, length: number): void {
    for (const buffers of [this.#keys, this.#values]) {
      for (const buffer of buffers) {
        for (let head = 0; head < this.#shape.kvHeads; head++) {
          const start = this.#offset(row, head)
          buffer.fill(0, start, start + length * this.#shape.headDim)
        }
      }
    }
  }

  /** Room for `rows` of `length` tokens. Layer by layer, so that there is never twice the memory. */
  #fit(rows: number, length: number): void {
    if (rows <= this.#room && capacityFor(length) <= this.#capacity) return
    const room = rows <= this.#room ? this.#room : roomFor(rows)
    this.#resize(room, Math.max(this.#capacity, capacityFor(length)))
  }

  /** Gives memory back that only sequences which are gone have needed: a long one must not make all later ones long. */
  trim(): void {
    if (this.rows === 0) return
    const capacity = capacityFor(Math.max(...this.#lengths))
    const room = roomFor(this.rows)
    if (this.#capacity > 2 * capacity || this.#room > 2 * room) this.#resize(room, capacity)
  }

  #resize(room: number, capacity: number): void {
    const before = this.#capacity
    this.#room = room
    this.#capacity = capacity
    const { layers, kvHeads, headDim } = this.#shape
    const size = this.#room * kvHeads * this.#capacity * headDim
    for (const buffers of [this.#keys, this.#values]) {
      for (let layer = 0; layer < layers; layer++) {
        const old = buffers[layer]
        const grown = new Float32Array(size)
        buffers[layer] = grown
        if (!old) continue
        for (let row = 0; row < this.rows; row++) {
          for (let head = 0; head < kvHeads; head++) {
            const from = (row * kvHeads + head) * before * headDim
            grown.set(old.subarray(from, from + this.length(row) * headDim), this.#offset(row, head))
          }
        }
      }
    }
  }
}

/** Rows come in eights, few in powers of two, so that a growing batch is copied seldom. */
const roomFor = (rows: number): number => (rows > 8 ? Math.ceil(rows / 8) * 8 : 2 ** Math.ceil(Math.log2(rows)))
