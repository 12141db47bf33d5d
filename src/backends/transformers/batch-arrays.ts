// From datums to the arrays of a run: the inputs of a micro-batch but for the adapter stacks. Knows the names of
// `trainingGraph`; knows nothing of sessions or gradients. The head's rows stand in head-rows.ts.

import type { FloatType } from './autodiff.ts'
import { type Batch, type BatchShape, datumsOf } from './batch.ts'
import { EmbeddingRows, Rows } from './head-rows.ts'
import type { Feed } from './runner.ts'
import { floats } from './training-stacks.ts'

/** Rotary tables [positions, headDim / 2] in the graph's type. */
export interface RotaryTables {
  readonly cos: Feed
  readonly sin: Feed
}

/**
 * The inputs of a run but for the adapter stacks. Tokens, rows and columns of the shape that no part fills are neutral:
 * tokens 0 that see themselves alone, rows without a gradient, columns of nobody.
 */
export function batchFeeds(
  batch: Batch,
  type: FloatType,
  tables: RotaryTables,
  { hidden, slidingWindow }: { readonly hidden: number; readonly slidingWindow?: number | undefined },
): Record<string, Feed> {
  const { shape } = batch
  const { tokens, columns, width, backward } = shape
  const ids = new BigInt64Array(tokens)
  const places = new Places(shape, slidingWindow ?? Number.POSITIVE_INFINITY)
  const share = floats(type, tokens * columns)
  const rows = shape.head === 'embeddings' ? new EmbeddingRows(shape, type, hidden) : new Rows(shape, type)
  for (const part of batch.parts) {
    const { weights } = part.work
    const { rank } = weights.layout
    let { token } = part.place
    rows.begin(part.place)
    for (const [at, datum] of datumsOf(part).entries()) {
      const start = token
      datum.tokens.forEach((id, i) => {
        ids[token] = BigInt(id)
        places.see(token, start)
        share.fill(
          weights.alpha / rank,
          token * columns + part.place.column,
          token * columns + part.place.column + rank,
        )
        rows.add(part.work, part.place.first + at, i, token)
        token++
      })
    }
  }
  return {
    ids: { data: ids, dims: [tokens] },
    share: { data: share, dims: [tokens, columns] },
    ...tables,
    ...places.feeds(),
    ...rows.feeds(backward, width),
  }
}

/** Where tokens are in the attention spans, their positions, and the first place that each sees. */
class Places {
  readonly #dims: readonly [number, number]
  readonly #window: number
  readonly #layout: BigInt64Array
  readonly #positions: BigInt64Array
  readonly #first: BigInt64Array
  readonly #place: BigInt64Array

  constructor({ tokens, spans, span }: BatchShape, slidingWindow: number) {
    const size = spans.length * span
    this.#dims = [spans.length, span]
    this.#window = slidingWindow
    this.#layout = new BigInt64Array(size)
    this.#positions = new BigInt64Array(size)
    this.#first = BigInt64Array.from({ length: size }, (_, i) => BigInt(i % span))
    this.#place = new BigInt64Array(tokens)
    spans.forEach((from, s) => {
      for (let token = from; token < (spans[s + 1] ?? tokens); token++) {
        const place = s * span + token - from
        this.#layout[place] = BigInt(token)
        this.#place[token] = BigInt(place)
      }
    })
  }

  /** `token` is of the sequence that begins with token `start`. */
  see(token: number, start: number): void {
    const place = Number(this.#place[token])
    const back = Math.min(token - start, this.#window - 1)
    this.#positions[place] = BigInt(token - start)
    this.#first[place] = BigInt((place % this.#dims[1]) - back)
  }

  feeds(): Record<string, Feed> {
    const dims = this.#dims
    return {
      layout: { data: this.#layout, dims },
      positions: { data: this.#positions, dims },
      first: { data: this.#first, dims },
      place: { data: this.#place, dims: [this.#place.length] },
    }
  }
}
