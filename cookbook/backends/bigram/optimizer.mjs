// What a step and a clipping do to an adapter: all of it, or nothing and an error. The rules' arithmetic is the package's own
// (`moved`). Knows no models.

import { checkClip, checkSettings, engineError, moved } from 'twinkle-ts/backends'

/**
 * @typedef {import('twinkle-ts/backends').ClipResult} ClipResult
 * @typedef {import('twinkle-ts/backends').GradientClip} GradientClip
 * @typedef {import('twinkle-ts/backends').OptimResult} OptimResult
 * @typedef {import('twinkle-ts/backends').OptimStep} OptimStep
 * @typedef {import('./adapter.mjs').Adapter} Adapter
 */

/** Weights of which two can be multiplied in float32. */
const LARGEST_WEIGHT = 1e18

/**
 * Uses the gradient up.
 * @param {Adapter} adapter
 * @param {OptimStep} request
 * @returns {OptimResult}
 */
export function takeStep(adapter, request) {
  checkSettings(request)
  const state = stateFor(adapter, request)
  const { gradient, weights } = adapter
  if (!gradient) return { applied: false, gradientNorm: 0, step: adapter.steps }
  const gradientNorm = norm(gradient)
  const { params, slots, step } = moved({ params: weights.params, ...state }, gradient, request, gradientNorm)
  if (![params, ...Object.values(slots)].every(isUsable)) {
    adapter.gradient = null
    const sentence = `the step would drive weights of adapter ${request.adapter} out of range; it was not taken`
    throw engineError(
      'NON_FINITE',
      `${sentence}, and its gradient is dropped: lower the learning rate of ${request.learningRate}`,
    )
  }
  adapter.replace(weights.with(params), { rule: request.rule, slots, step })
  return { applied: true, gradientNorm, step }
}

/**
 * A new optimiser's state, or that of the steps before: no rule goes on with the arrays of another.
 * @param {Adapter} adapter
 * @param {OptimStep} request
 */
function stateFor({ optimizer }, { rule, fresh, adapter }) {
  if (fresh || !optimizer || (optimizer.step === 0 && optimizer.rule !== rule)) return { slots: {}, step: 0 }
  if (optimizer.rule === rule) return optimizer
  const sentence = `adapter ${adapter} has the state of ${optimizer.rule}, with which ${rule} cannot go on`
  throw engineError('OPTIMIZER_MISMATCH', `${sentence}: step with ${optimizer.rule}, or set the optimiser anew`)
}

/**
 * Divides the gradient, then clips its norm.
 * @param {Adapter} adapter
 * @param {GradientClip} request
 * @returns {ClipResult}
 */
export function clipGradient(adapter, request) {
  checkClip(request)
  if (!adapter.gradient) return { applied: false, gradientNorm: 0 }
  const divided = adapter.gradient.map((g) => g / request.divisor)
  const gradientNorm = norm(divided)
  if (!Number.isFinite(gradientNorm)) {
    const sentence = `the gradient of adapter ${request.adapter}, divided by ${request.divisor}, has the norm ${gradientNorm}`
    throw engineError('NON_FINITE', `${sentence}; it stays as it was: divide by a larger number`)
  }
  const factor = request.maxNorm === null ? 1 : Math.min(1, request.maxNorm / (gradientNorm + 1e-6))
  adapter.gradient = divided.map((g) => g * factor)
  return { applied: true, gradientNorm }
}

/** @param {Float32Array} values */
const norm = (values) => Math.sqrt(values.reduce((sum, value) => sum + value * value, 0))

/** @param {Float32Array} values */
const isUsable = (values) => values.every((value) => Math.abs(value) <= LARGEST_WEIGHT)
