// The rows of the head: where in a micro-batch log-probabilities or embeddings are computed, which of them have a gradient and
// by what numbers, and what the outputs of the run say of each datum. Knows the names of `trainingGraph`.

import { hasSlope, LOSS_NUMBERS } from '../../catalogue/losses/numbers.ts'
import type { TrainingDatum } from '../backend.ts'
import type { FloatType } from './autodiff.ts'
import { type BatchShape, type BatchWork, datumsOf, type Part, type Place, targetNumbers } from './batch.ts'
import type { Feed } from './runner.ts'
import { floats } from './training-stacks.ts'

/** The head's rows: where they are, their targets and, with a gradient, the numbers of their losses. */
export class Rows {
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

  add(work: BatchWork, index: number, position: number, token: number): void {
    const { graded, width, backward } = this.#shape
    const datum = work.datums[index] as TrainingDatum
    const numbers = targetNumbers(work, index, position)
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
    fillGaps(this.#graded, this.#filled)
    return {
      ...scoring,
      graded: { data: this.#graded, dims: [graded] },
      'graded.targets': { data: this.#gradedTargets, dims: [graded, width] },
      loss: { data: this.#loss, dims: [LOSS_NUMBERS.length, graded, width] },
    }
  }
}

/** A row may be picked once: rows of nobody point at tokens that no other row points at. */
function fillGaps(rows: BigInt64Array, filled: ReadonlySet<number>): void {
  let token = 0
  for (let row = 0; row < rows.length; row++) {
    if (rows[row] !== -1n) continue
    while (filled.has(token)) token++
    rows[row] = BigInt(token++)
  }
}

/** The rows of a head that gives embeddings: one a datum, at the position that its mask marks. */
export class EmbeddingRows {
  readonly #hidden: number
  readonly #rows: BigInt64Array
  readonly #gradient: Float32Array | Float64Array
  readonly #filled = new Set<number>()
  #next = 0

  constructor({ graded }: BatchShape, type: FloatType, hidden: number) {
    this.#hidden = hidden
    this.#rows = new BigInt64Array(graded).fill(-1n)
    this.#gradient = floats(type, graded * hidden)
  }

  begin({ graded }: Place): void {
    this.#next = graded
  }

  add({ datums, slopes }: BatchWork, index: number, position: number, token: number): void {
    if (datums[index]?.mask?.[position] !== 1) return
    const row = this.#next++
    this.#rows[row] = BigInt(token)
    this.#filled.add(token)
    // Slopes are of minus the loss.
    slopes?.[index]?.forEach((slope, i) => {
      this.#gradient[row * this.#hidden + i] = -slope
    })
  }

  feeds(backward: boolean): Record<string, Feed> {
    fillGaps(this.#rows, this.#filled)
    const rows = { graded: { data: this.#rows, dims: [this.#rows.length] } }
    if (!backward) return rows
    return { ...rows, 'embeddings.grad': { data: this.#gradient, dims: [this.#rows.length, this.#hidden] } }
  }
}

type Outputs = Readonly<Record<string, ArrayLike<number>>>

/** Log-probabilities [N, width] of each of a part's datums, from the outputs of the run. */
export const partLogprobs = (part: Part, shape: BatchShape, outputs: Outputs): Float64Array[] =>
  partRows(part, shape, outputs, 'logprobs', shape.width, (datum) => datum.width)

/** Entropies [N] of each of a part's datums; the run was one with entropies. */
export const partEntropies = (part: Part, shape: BatchShape, outputs: Outputs): Float64Array[] =>
  partRows(part, shape, outputs, 'entropies', 1, () => 1)

/** Log-probabilities [N] of the likeliest token at each position of each of a part's datums. */
export const partBest = (part: Part, shape: BatchShape, outputs: Outputs): Float64Array[] =>
  partRows(part, shape, outputs, 'best', 1, () => 1)

/** The first `columnsOf` of the `width` columns of each position's row, wherever in the outputs the row lies. */
function partRows(
  part: Part,
  { backward }: BatchShape,
  outputs: Outputs,
  name: 'logprobs' | 'entropies' | 'best',
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

/** The vectors [hidden] of each of a part's datums, from the outputs of a run with embeddings. */
export function partVectors({ place }: Part, { graded }: BatchShape, outputs: Outputs): Float64Array[] {
  const all = outputs.embeddings as ArrayLike<number>
  const hidden = all.length / graded
  return Array.from({ length: place.count }, (_, i) => {
    const from = (place.graded + i) * hidden
    return Float64Array.from({ length: hidden }, (_, at) => all[from + at] as number)
  })
}
