// Optimiser steps of an adapter, and what is done to its gradient before: scaling and clipping of the global norm. A step or
// a clipping writes new arrays: it happens as a whole or not at all. The rules themselves are in adam.ts and sgd.ts.

import type { OptimizerSpec } from '../../catalogue/optimizers/spec.ts'
import type { ClipResult, GradientClip, OptimResult, OptimStep } from '../backend.ts'
import { engineError } from '../engine-errors.ts'
import { checkClip, checkSettings } from '../optimizer-check.ts'
import { adam } from './adam.ts'
import type { Adapter } from './adapter.ts'
import type { Floats, Moving, OptimizerState } from './optimizer-state.ts'
import { sgd } from './sgd.ts'

/** One optimiser step of an adapter, which uses up its gradient. Throws EngineError and leaves the weights as they were. */
export function optimizerStep(adapter: Adapter, request: OptimStep): OptimResult {
  checkSettings(request)
  const before = stateFor(adapter, request)
  const { gradient } = adapter
  if (!gradient) return { applied: false, gradientNorm: 0, step: adapter.step }
  const gradientNorm = l2Norm(gradient)
  const after = moved({ params: adapter.params, ...before }, gradient, request, gradientNorm)
  if (!(isUsable(after.params) && Object.values(after.slots).every(allFinite))) {
    adapter.dropGradient()
    throw engineError(
      'NON_FINITE',
      `optim_step would drive weights of adapter ${request.adapter} out of the range of float32 (learning rate ` +
        `${request.learningRate}, gradient norm ${gradientNorm.toPrecision(4)}); the step was not taken and its gradient is ` +
        'dropped, the adapter is as before: lower the learning rate or set grad_clip_norm',
    )
  }
  const { params, slots, step } = after
  adapter.commit(params, { rule: request.rule, slots, step })
  return { applied: true, gradientNorm, step }
}

/** Weights and state after one step. `norm` is the L2 norm of the gradient. */
export function moved<T extends Floats>(
  state: Moving<T>,
  gradient: T,
  spec: OptimizerSpec,
  norm = l2Norm(gradient),
): Moving<T> {
  const clip = spec.clipNorm > 0 ? clipFactor(norm, spec.clipNorm) : 1
  return spec.rule === 'sgd' ? sgd(state, gradient, spec, clip) : adam(state, gradient, spec, clip)
}

/** A new optimiser, or the one that took the steps before: nothing of another rule's state is used or lost unasked. */
function stateFor(adapter: Adapter, { rule, fresh, adapter: id }: OptimStep): OptimizerState {
  const { optimizer } = adapter
  const isNew = fresh === true || optimizer === null || (optimizer.step === 0 && optimizer.rule !== rule)
  if (isNew) return { rule, slots: {}, step: 0 }
  if (optimizer.rule === rule) return optimizer
  throw engineError(
    'OPTIMIZER_MISMATCH',
    `adapter ${id} has the optimiser state of ${optimizer.rule} after ${optimizer.step} steps, with which ${rule} cannot go ` +
      `on: step with ${optimizer.rule}, set the optimiser anew, or load the weights without optimiser state`,
  )
}

/**
 * Divides an adapter's gradient and clips it, in the float32 of the gradient, as torch does: each element is divided and
 * rounded, then multiplied by the factor of clip_grad_norm_ and rounded. Throws EngineError and leaves the gradient as it was.
 */
export function clipGradient(adapter: Adapter, request: GradientClip): ClipResult {
  checkClip(request)
  const { divisor, maxNorm } = request
  if (!adapter.gradient) return { applied: false, gradientNorm: 0 }
  const gradient = divisor === 1 ? adapter.gradient : adapter.gradient.map((g) => g / divisor)
  const gradientNorm = l2Norm(gradient)
  if (!Number.isFinite(gradientNorm)) {
    throw engineError(
      'NON_FINITE',
      `the gradient of adapter ${request.adapter}, divided by ${divisor}, has the norm ${gradientNorm}; it stays as it was: ` +
        'divide by a larger number, or drop it with zero_grad',
    )
  }
  const factor = maxNorm === null ? 1 : clipFactor(gradientNorm, maxNorm)
  adapter.replaceGradient(factor === 1 ? gradient : gradient.map((g) => g * factor))
  return { applied: true, gradientNorm }
}

/** torch.nn.utils.clip_grad_norm_: what a gradient of this norm is multiplied by. */
function clipFactor(norm: number, maxNorm: number): number {
  return Math.min(1, maxNorm / (norm + 1e-6))
}

function l2Norm(values: Floats): number {
  let sum = 0
  for (let i = 0; i < values.length; i++) sum += (values[i] as number) ** 2
  return Math.sqrt(sum)
}

/** Any infinity or NaN times 0 is NaN, and stays so in a sum. */
export function allFinite(values: Floats): boolean {
  let sum = 0
  for (let i = 0; i < values.length; i++) sum += (values[i] as number) * 0
  return sum === 0
}

/** Weights of which two can be multiplied: A and B meet in every low-rank term. */
const LARGEST_WEIGHT = 1e18
function isUsable(params: Floats): boolean {
  let largest = 0
  for (let i = 0; i < params.length; i++) largest = Math.max(largest, Math.abs(params[i] as number))
  return largest <= LARGEST_WEIGHT
}
