// One adapter: its numbers, the gradient that it has gathered and the state of its optimiser. Parameters, gradients and an
// optimiser's arrays all have one layout, A [rank, V] and then B [V, rank], so that adding, clipping and stepping are loops
// over flat arrays. Knows neither losses nor files.

import { createHash } from 'node:crypto'
import { keyOfSeed, philox } from 'twinkle-ts/backends'

/** @typedef {import('twinkle-ts/backends').OptimizerState} OptimizerState */

/** Numbers that do not change: a change makes new ones. */
export class Weights {
  /**
   * @param {number} vocabulary
   * @param {number} rank
   * @param {number} scale alpha / rank
   * @param {Float32Array} params
   */
  constructor(vocabulary, rank, scale, params) {
    this.vocabulary = vocabulary
    this.rank = rank
    this.scale = scale
    this.params = params
    /** @type {string | null} */
    this.known = null
  }

  get a() {
    return this.params.subarray(0, this.rank * this.vocabulary)
  }
  get b() {
    return this.params.subarray(this.rank * this.vocabulary)
  }

  /** Of the content: equal weights have equal hashes, which is what snapshots go by. */
  get hash() {
    this.known ??= createHash('sha256').update(`${this.rank} ${this.scale} `).update(this.params).digest('hex')
    return this.known
  }

  /** Column `last` of A, [rank]: what B turns into logits. @param {number} last */
  hidden(last) {
    const { a, rank, vocabulary } = this
    return Float64Array.from({ length: rank }, (_, r) => a[r * vocabulary + last])
  }

  /**
   * Adds scale * B A[:, last] to `logits` [V].
   * @param {Float64Array} logits
   * @param {number} last
   */
  addLogits(logits, last) {
    const { b, rank, scale, vocabulary } = this
    const hidden = this.hidden(last)
    for (let i = 0; i < vocabulary; i++) {
      let sum = 0
      for (let r = 0; r < rank; r++) sum += b[i * rank + r] * hidden[r]
      logits[i] += scale * sum
    }
  }

  /**
   * The way back: adds to `gradient` what a slope d(loss)/d(logits) [V] after token `last` means for A and B.
   * @param {Float64Array} gradient of the layout of `params`
   * @param {Float64Array} slope
   * @param {number} last
   */
  addGradient(gradient, slope, last) {
    const { b, rank, scale, vocabulary } = this
    const hidden = this.hidden(last)
    const start = rank * vocabulary
    for (let i = 0; i < vocabulary; i++) {
      const pull = scale * slope[i]
      for (let r = 0; r < rank; r++) {
        gradient[r * vocabulary + last] += pull * b[i * rank + r]
        gradient[start + i * rank + r] += pull * hidden[r]
      }
    }
  }

  /** @param {Float32Array} params */
  with(params) {
    return new Weights(this.vocabulary, this.rank, this.scale, params)
  }
}

export class Adapter {
  /** @param {Weights} weights */
  constructor(weights) {
    this.weights = weights
    /** What operations have added since the last step; null: nothing. @type {Float32Array | null} */
    this.gradient = null
    /** Null before the first step. @type {OptimizerState | null} */
    this.optimizer = null
  }

  get steps() {
    return this.optimizer?.step ?? 0
  }

  /** A whole operation's, in float64. @param {Float64Array} gradient */
  addGradient(gradient) {
    this.gradient ??= new Float32Array(gradient.length)
    for (let i = 0; i < gradient.length; i++) this.gradient[i] += gradient[i]
  }

  /**
   * Other weights from now on: gradients are of the old ones.
   * @param {Weights} weights
   * @param {OptimizerState | null} optimizer
   */
  replace(weights, optimizer) {
    this.weights = weights
    this.optimizer = optimizer
    this.gradient = null
  }
}

/**
 * The start of an adapter: B is 0, so that it computes what the base model does, and A is uniform in (-1, 1), since one entry
 * of its input is not 0. Element i depends on the seed and i alone.
 * @param {number} vocabulary
 * @param {number} rank
 * @param {number} alpha
 * @param {string} seed
 */
export function freshWeights(vocabulary, rank, alpha, seed) {
  const key = keyOfSeed(seed)
  const params = new Float32Array(2 * rank * vocabulary)
  for (let i = 0; i < rank * vocabulary; i++) params[i] = 2 * (philox([i, 0, 0, 0], key)[0] / 2 ** 32) - 1
  return new Weights(vocabulary, rank, alpha / rank, params)
}
