// Between datums and the arrays of a run: the inputs of a micro-batch but for the adapter stacks, and the log-probabilities
// among its outputs. Knows the names of `trainingGraph`; knows nothing of sessions or gradients.

import { hasSlope, LOSS_NUMBERS, type LossNumbers } from '../../catalogue/losses/numbers.ts'
import type { TrainingDatum } from '../backend.ts'
import type { FloatType } from './autodiff.ts'
import { type Batch, type BatchShape, datumsOf, type Part, type Place, targetNumbers } from './batch.ts'
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
  slidingWindow = Number.POSITIVE_INFINITY,
): Record<string, Feed> {
  const { shape } = batch
  const { tokens, columns, width, backward } = shape
  const ids = new BigInt64Array(tokens)
  const places = new Places(shape, slidingWindow)
  const share = floats(type, tokens * columns)
  const rows = new Rows(shape, type)
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
        rows.add(datum, i, token, targetNumbers(part.work, part.place.first + at, i))
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

/** The head's rows: where they are, their targets and, with a gradient, the numbers of their losses. */
class Rows {
  readonly #shape: BatchShape
  readonly #graded: BigInt64Array
  readonly #gradedTargets: BigInt64Array
  readonly #scored: BigInt64Array
  readonly #scoredTargets: BigInt64Array
  readonly #loss: Float32Array | Float64Array
  readonly #filled = new Set<number>()
  #nextGraded = 0
  #nextScored = 0

  constructor(shape: BatchShape, type: FloatType) {
    const { graded, scored, width } = shape
    this.#shape = shape
    this.#graded = new BigInt64Array(graded).fill(-1n)
    this.#gradedTargets = new BigInt64Array(graded * width)
    this.#scored = new BigInt64Array(scored)
    this.#scoredTargets = new BigInt64Array(scored * width)
    this.#loss = floats(type, LOSS_NUMBERS.length * graded * width)
  }

  begin(place: Place): void {
    this.#nextGraded = place.graded
    this.#nextScored = place.scored
  }

  add(datum: TrainingDatum, position: number, token: number, numbers: readonly LossNumbers[]): void {
    const { graded, width, backward } = this.#shape
    const target = (k: number) => BigInt(datum.targets[position * datum.width + k] as number)
    if (!backward || !numbers.some(hasSlope)) {
      const row = this.#nextScored++
      this.#scored[row] = BigInt(token)
      for (let k = 0; k < datum.width; k++) this.#scoredTargets[row * width + k] = target(k)
      return
    }
    const row = this.#nextGraded++
    this.#graded[row] = BigInt(token)
    this.#filled.add(token)
    numbers.forEach((n, k) => {
      this.#gradedTargets[row * width + k] = target(k)
      LOSS_NUMBERS.forEach((name, i) => {
        this.#loss[(i * graded + row) * width + k] = n[name]
      })
    })
  }

  feeds(backward: boolean, width: number): Record<string, Feed> {
    const { graded, scored } = this.#shape
    const scoring = {
      scored: { data: this.#scored, dims: [scored] },
      'scored.targets': { data: this.#scoredTargets, dims: [scored, width] },
    }
    if (!backward) return scoring
    this.#fillGaps()
    return {
      ...scoring,
      graded: { data: this.#graded, dims: [graded] },
      'graded.targets': { data: this.#gradedTargets, dims: [graded, width] },
      loss: { data: this.#loss, dims: [LOSS_NUMBERS.length, graded, width] },
    }
  }

  /** A row may be picked once: rows of nobody point at tokens that no other row points at. */
  #fillGaps(): void {
    let token = 0
    for (let row = 0; row < this.#graded.length; row++) {
      if (this.#graded[row] !== -1n) continue
      while (this.#filled.has(token)) token++
      this.#graded[row] = BigInt(token++)
    }
  }
}

type Outputs = Readonly<Record<string, ArrayLike<number>>>

/** Log-probabilities [N, width] of each of a part's datums, from the outputs of the run. */
export const partLogprobs = (part: Part, shape: BatchShape, outputs: Outputs): Float64Array[] =>
  partRows(part, shape, outputs, 'logprobs', shape.width, (datum) => datum.width)

/** Entropies [N] of each of a part's datums; the run was one with entropies. */
export const partEntropies = (part: Part, shape: BatchShape, outputs: Outputs): Float64Array[] =>
  partRows(part, shape, outputs, 'entropies', 1, () => 1)

/** The first `columnsOf` of the `width` columns of each position's row, wherever in the outputs the row lies. */
function partRows(
  part: Part,
  { backward }: BatchShape,
  outputs: Outputs,
  name: 'logprobs' | 'entropies',
  width: number,
  columnsOf: (datum: TrainingDatum) => number,
): Float64Array[] {
  let { graded, scored } = part.place
  return datumsOf(part).map((datum, at) => {
    const columns = columnsOf(datum)
    const result = new Float64Array(datum.tokens.length * columns)
    for (let i = 0; i < datum.tokens.length; i++) {
      const isGraded = backward && targetNumbers(part.work, part.place.first + at, i).some(hasSlope)
      const values = outputs[`${isGraded ? 'graded' : 'scored'}.${name}`] as ArrayLike<number>
      const row = isGraded ? graded++ : scored++
      for (let k = 0; k < columns; k++) result[i * columns + k] = values[row * width + k] as number
    }
    return result
  })
}
