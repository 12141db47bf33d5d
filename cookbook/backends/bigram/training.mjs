// One training operation: the targets are scored, the loss says its value and slopes, the slopes go backward. It runs a datum
// at a time, so that whoever drives it can do other things in between, and keeps its gradient to itself until it is whole.
// Knows one operation; whose turn it is, is turn-taking.mjs.

import { checkDatums, engineError, evaluateLoss, needsOf, supports } from 'twinkle-ts/backends'

/**
 * @typedef {import('twinkle-ts/backends').EngineInfo} EngineInfo
 * @typedef {import('twinkle-ts/backends').TrainingDatum} TrainingDatum
 * @typedef {import('twinkle-ts/backends').TrainingItem} TrainingItem
 * @typedef {import('twinkle-ts/backends').TrainingResult} TrainingResult
 * @typedef {import('./adapter.mjs').Adapter} Adapter
 * @typedef {import('./adapter.mjs').Weights} Weights
 * @typedef {import('./model.mjs').BigramModel} BigramModel
 */

/**
 * Yields the number of tokens after each datum of each pass; returns the result, and only then has the adapter its gradient.
 * @param {BigramModel} model
 * @param {EngineInfo} info
 * @param {Adapter} adapter
 * @param {TrainingItem} item
 * @returns {Generator<number, TrainingResult>}
 */
export function* trainingSteps(model, info, adapter, item) {
  const { datums, loss, backward, plan } = item
  checkDatums(datums, loss, info)
  if (!supports(info, loss)) {
    const kinds = info.lossKinds.join(', ')
    throw engineError(
      'UNSUPPORTED_LOSS',
      `a bigram model cannot compute loss ${loss.name}; it has those of the kinds ${kinds}`,
    )
  }
  if (plan && plan.runtime !== info.runtime) {
    throw engineError('PLAN_MISMATCH', `the plan is of ${plan.runtime}; this is ${info.runtime}, whose bits may differ`)
  }
  const { weights } = adapter
  /** @type {ReturnType<typeof scoreDatum>[]} */
  const scores = []
  for (const datum of datums) {
    scores.push(scoreDatum(model, weights, datum))
    yield datum.tokens.length
  }
  const logprobs = scores.map((score) => score.logprobs)
  const entropies = scores.map((score) => score.entropies)
  const evaluated = evaluateLoss(loss, datums, { logprobs, entropies })
  refuseNonFinite(item, [Float64Array.of(evaluated.loss), ...logprobs])
  if (backward) {
    const gradient = new Float64Array(weights.params.length)
    for (const [i, datum] of datums.entries()) {
      takeBackward(model, weights, gradient, datum, evaluated.slopes[i], evaluated.entropySlopes?.[i])
      yield datum.tokens.length
    }
    refuseNonFinite(item, [gradient])
    adapter.addGradient(gradient)
  }
  const isCounted = datums.every(({ mask, width }) => mask && width === 1)
  return {
    loss: evaluated.loss,
    logprobs: logprobs.map((row) => Float32Array.from(row)),
    ...(isCounted && { likeliest: scores.reduce((sum, score) => sum + score.likeliest, 0) }),
    ...(needsOf(loss).includes('entropy') && { entropies: entropies.map((row) => Float32Array.from(row)) }),
    // One datum after the other, in float64: nobody else's tokens can change the bits, so there is nothing to write down.
    plan: { version: 1, runtime: info.runtime, batches: [] },
  }
}

/**
 * Log-probabilities of a datum's targets [N, width], entropies [N], and how many counted targets were the likeliest token.
 * @param {BigramModel} model
 * @param {Weights} weights
 * @param {TrainingDatum} datum
 */
function scoreDatum(model, weights, { tokens, targets, width, mask }) {
  const logprobs = new Float64Array(targets.length)
  const entropies = new Float64Array(tokens.length)
  let likeliest = 0
  tokens.forEach((token, at) => {
    const row = model.logprobs(weights, token)
    for (let k = at * width; k < (at + 1) * width; k++) logprobs[k] = row[targets[k]]
    entropies[at] = entropyOf(row)
    if (mask?.[at] && row[targets[at]] >= row.reduce((a, b) => Math.max(a, b))) likeliest++
  })
  return { logprobs, entropies, likeliest }
}

/**
 * Adds d(loss)/d(A, B) of a datum to `gradient`. A target's log-probability falls with every logit by its probability and
 * rises with its own by 1; the entropy H falls with a logit by p (log p + H).
 * @param {BigramModel} model
 * @param {Weights} weights
 * @param {Float64Array} gradient
 * @param {TrainingDatum} datum
 * @param {Float64Array} slopes [N, width]: d(-loss)/d(log p)
 * @param {Float64Array | undefined} entropySlopes [N]: d(-loss)/dH
 */
function takeBackward(model, weights, gradient, { tokens, targets, width }, slopes, entropySlopes) {
  tokens.forEach((token, at) => {
    const own = slopes.subarray(at * width, (at + 1) * width)
    const bonus = entropySlopes?.[at] ?? 0
    if (bonus === 0 && own.every((slope) => slope === 0)) return
    const row = model.logprobs(weights, token)
    const total = own.reduce((a, b) => a + b, 0)
    const entropy = bonus === 0 ? 0 : entropyOf(row)
    const pull = row.map((logp) => {
      const p = Math.exp(logp)
      return p === 0 ? 0 : p * (total + bonus * (logp + entropy))
    })
    own.forEach((slope, k) => {
      pull[targets[at * width + k]] -= slope
    })
    weights.addGradient(gradient, pull, token)
  })
}

/** In nats. @param {Float64Array} logprobs of all tokens */
function entropyOf(logprobs) {
  let sum = 0
  for (const logp of logprobs) if (logp > -Infinity) sum -= Math.exp(logp) * logp
  return sum
}

/**
 * Results are float32: what leaves its range is no result, and stays with whoever caused it.
 * @param {TrainingItem} item
 * @param {Float64Array[]} arrays
 */
function refuseNonFinite({ operation, adapter }, arrays) {
  if (arrays.every((values) => values.every((value) => Number.isFinite(Math.fround(value))))) return
  const sentence = `operation ${operation}: numbers of adapter ${adapter} left the range of float32; nothing was added to it`
  throw engineError('NON_FINITE', `${sentence}: lower the learning rate, or look at the inputs of the loss`)
}
