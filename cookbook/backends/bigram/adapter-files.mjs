// Adapters as folders: what PEFT reads and writes, for the one module that a bigram model has, and the optimiser's state
// beside it. Whatever is wrong with a folder is INVALID_ADAPTER, in the words of the reader that found it.

import { join } from 'node:path'
import {
  engineError,
  FormatError,
  loraTensorName,
  OPTIMIZER_FILE,
  readOptimizerState,
  readPeftAdapter,
  writeFolder,
  writeOptimizerState,
  writePeftAdapter,
} from 'twinkle-ts/backends'
import { Weights } from './adapter.mjs'

/**
 * @typedef {import('twinkle-ts/backends').AdapterPart} AdapterPart
 * @typedef {import('twinkle-ts/backends').OptimizerState} OptimizerState
 * @typedef {import('./adapter.mjs').Adapter} Adapter
 */

const MODULE = 'lm_head'
const [A, B] = [loraTensorName(MODULE, 'A'), loraTensorName(MODULE, 'B')]

/**
 * Writes a new folder, which appears whole or not at all.
 * @param {string} folder
 * @param {string} baseModel
 * @param {Adapter} adapter
 * @param {AdapterPart} part
 */
export function saveAdapter(folder, baseModel, { weights, optimizer }, part) {
  const { rank, scale, vocabulary } = weights
  return writeFolder(folder, (temporary) => {
    const pair = { rank, in: vocabulary, out: vocabulary, a: weights.a, b: weights.b }
    writePeftAdapter(temporary, { baseModel, rank, alpha: scale * rank, modules: new Map([[MODULE, pair]]) })
    if (part === 'weights') return
    // Before the first step: zeros of AdamW, with which any rule can begin.
    const zeros = weights.params.map(() => 0)
    const { rule, step, slots } = optimizer ?? { rule: 'adamw', step: 0, slots: { m: zeros, v: zeros } }
    const named = new Map(Object.entries(slots).map(([slot, values]) => [slot, halves(weights.with(values))]))
    writeOptimizerState(join(temporary, OPTIMIZER_FILE), { rule, step, slots: named })
  })
}

/** Weights to sample from. @param {string} folder @param {number} vocabulary @param {number} maxRank */
export function readWeights(folder, vocabulary, maxRank) {
  const { modules } = readable(() => readPeftAdapter(folder, new Map([[MODULE, [vocabulary, vocabulary]]])))
  const pair = /** @type {import('twinkle-ts/backends').LoraPair & { scale: number }} */ (modules.get(MODULE))
  if (pair.rank > maxRank)
    throw engineError('INVALID_ADAPTER', `${folder} has rank ${pair.rank}; up to ${maxRank} are served`)
  return new Weights(vocabulary, pair.rank, pair.scale, joined(pair.a, pair.b))
}

/**
 * Puts a folder's numbers in the place of an adapter's; one that does not fit leaves it as it was.
 * @param {string} folder
 * @param {Adapter} adapter
 * @param {AdapterPart} part
 */
export function loadAdapter(folder, adapter, part) {
  const { rank, scale, vocabulary } = adapter.weights
  const weights = readWeights(folder, vocabulary, Number.MAX_SAFE_INTEGER)
  if (weights.rank !== rank || weights.scale !== scale) {
    const [found, wanted] = [weights, adapter.weights].map((w) => `rank ${w.rank} and alpha ${w.rank * w.scale}`)
    throw engineError('INVALID_ADAPTER', `${folder} has ${found}, this adapter ${wanted}; create one of the same shape`)
  }
  adapter.replace(weights, part === 'weights' ? null : readOptimizer(folder, weights))
}

/**
 * @param {string} folder
 * @param {Weights} weights
 * @returns {OptimizerState}
 */
function readOptimizer(folder, weights) {
  const shapes = new Map([...halves(weights)].map(([name, { shape }]) => [name, shape]))
  const { rule, step, slots } = readable(() => readOptimizerState(join(folder, OPTIMIZER_FILE), shapes))
  const flat = [...slots].map(([slot, tensors]) => {
    const [a, b] = [A, B].map((name) => /** @type {{ data: Float32Array }} */ (tensors.get(name)).data)
    return [slot, joined(a, b)]
  })
  return { rule: /** @type {OptimizerState['rule']} */ (rule), step, slots: Object.fromEntries(flat) }
}

/** Tensors of an array of the adapter's layout, by their names in files. @param {Weights} weights */
const halves = ({ a, b, rank, vocabulary }) =>
  new Map([
    [A, { shape: [rank, vocabulary], data: a }],
    [B, { shape: [vocabulary, rank], data: b }],
  ])

/** @param {Float32Array} a @param {Float32Array} b */
function joined(a, b) {
  const params = new Float32Array(a.length + b.length)
  params.set(a)
  params.set(b, a.length)
  return params
}

/** @template T @param {() => T} read @returns {T} */
function readable(read) {
  try {
    return read()
  } catch (error) {
    throw error instanceof FormatError ? engineError('INVALID_ADAPTER', error.message) : error
  }
}
