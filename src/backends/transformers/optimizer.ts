// AdamW with decoupled weight decay and clipping of the global gradient norm. Arithmetic is float64, state is what the
// arrays hold. A step writes new arrays: it happens as a whole or not at all. Knows flat arrays; knows nothing of shapes.
// Formulas: Loshchilov and Hutter, "Decoupled weight decay regularization", 2019, algorithm 2.

import type { OptimResult, OptimStep } from '../backend.ts'
import { engineError } from '../engine-errors.ts'
import type { Adapter } from './adapter.ts'

type Floats = Float32Array | Float64Array
export type AdamWSettings = Pick<OptimStep, 'learningRate' | 'beta1' | 'beta2' | 'epsilon' | 'weightDecay' | 'clipNorm'>
export interface AdamWState<T extends Floats> {
  readonly params: T
  readonly m: T
  readonly v: T
  /** Steps taken. */
  readonly step: number
}

/** One optimiser step of an adapter, which uses up its gradient. Throws EngineError and leaves the weights as they were. */
export function optimizerStep(adapter: Adapter, request: OptimStep): OptimResult {
  checkSettings(request)
  const { gradient, layout } = adapter
  if (!gradient) return { applied: false, gradientNorm: 0, step: adapter.step }
  const zeros = () => new Float32Array(layout.size)
  const { m, v, step } = adapter.optimizer ?? { m: zeros(), v: zeros(), step: 0 }
  const before = { params: adapter.params, m, v, step } as AdamWState<Float32Array<ArrayBuffer>>
  const gradientNorm = l2Norm(gradient)
  const after = adamW(before, gradient, request, gradientNorm)
  if (!(isUsable(after.params) && allFinite(after.m) && allFinite(after.v))) {
    adapter.dropGradient()
    throw engineError(
      'NON_FINITE',
      `optim_step would drive weights of adapter ${request.adapter} out of the range of float32 (learning rate ` +
        `${request.learningRate}, gradient norm ${gradientNorm.toPrecision(4)}); the step was not taken and its gradient is ` +
        'dropped, the adapter is as before: lower the learning rate or set grad_clip_norm',
    )
  }
  adapter.commit(after.params, after)
  return { applied: true, gradientNorm, step: after.step }
}

/** The state after one step. `norm` is the L2 norm of the gradient. */
export function adamW<T extends Floats>(
  state: AdamWState<T>,
  gradient: T,
  settings: AdamWSettings,
  norm = l2Norm(gradient),
): AdamWState<T> {
  const { learningRate, beta1, beta2, epsilon, weightDecay, clipNorm } = settings
  const step = state.step + 1
  const clip = clipNorm > 0 ? Math.min(1, clipNorm / (norm + 1e-6)) : 1
  const decay = 1 - learningRate * weightDecay
  const rate = learningRate / (1 - beta1 ** step)
  const spread = 1 / Math.sqrt(1 - beta2 ** step)
  const size = gradient.length
  const make = () => new (gradient.constructor as new (size: number) => T)(size)
  const [params, m, v] = [make(), make(), make()]
  for (let i = 0; i < size; i++) {
    const g = (gradient[i] as number) * clip
    const mean = beta1 * (state.m[i] as number) + (1 - beta1) * g
    const square = beta2 * (state.v[i] as number) + (1 - beta2) * g * g
    m[i] = mean
    v[i] = square
    params[i] = (state.params[i] as number) * decay - (rate * mean) / (Math.sqrt(square) * spread + epsilon)
  }
  return { params, m, v, step }
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

const LIMITS: Readonly<Record<keyof AdamWSettings, { readonly wanted: string; holds(x: number): boolean }>> = {
  learningRate: { wanted: 'at least 0', holds: (x) => x >= 0 },
  beta1: { wanted: 'at least 0 and below 1', holds: (x) => x >= 0 && x < 1 },
  beta2: { wanted: 'at least 0 and below 1', holds: (x) => x >= 0 && x < 1 },
  epsilon: { wanted: 'above 0', holds: (x) => x > 0 },
  weightDecay: { wanted: 'at least 0', holds: (x) => x >= 0 },
  clipNorm: { wanted: 'at least 0 (0 = no clipping)', holds: (x) => x >= 0 },
}

/** Throws EngineError naming the setting and its range. The server asks before a step is journalled. */
export function checkSettings(settings: Pick<OptimStep, 'rule'> & AdamWSettings): void {
  if (settings.rule !== 'adamw') {
    throw engineError('UNSUPPORTED_OPTIMIZER', `optimiser ${JSON.stringify(settings.rule)} is not supported; use adamw`)
  }
  for (const [name, { wanted, holds }] of Object.entries(LIMITS)) {
    const value = settings[name as keyof AdamWSettings]
    if (!Number.isFinite(value) || !holds(value)) {
      throw engineError('INVALID_INPUT', `adamw: ${name} must be a finite number ${wanted}, not ${value}`)
    }
  }
}
