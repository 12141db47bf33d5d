// The rules `adamw` and `adam` on flat arrays. They differ in where weight decay acts: AdamW takes it from the weights alone,
// Adam adds it to the gradient, and so to the moments. Arithmetic is float64, state is what the arrays hold.
// Kingma and Ba, "Adam: a method for stochastic optimization", 2015, algorithm 1; Loshchilov and Hutter, "Decoupled weight
// decay regularization", 2019, algorithm 2; torch.optim.Adam and AdamW without amsgrad.

import type { AdamSpec } from '../../catalogue/optimizers/spec.ts'
import type { Floats, Moving } from './optimizer-state.ts'

/** The state after one step, in new arrays. `clip` multiplies the gradient first. */
export function adam<T extends Floats>(state: Moving<T>, gradient: T, spec: AdamSpec, clip: number): Moving<T> {
  const { learningRate, beta1, beta2, epsilon, weightDecay } = spec
  const isCoupled = spec.rule === 'adam'
  const step = state.step + 1
  const decay = isCoupled ? 1 : 1 - learningRate * weightDecay
  const rate = learningRate / (1 - beta1 ** step)
  const spread = 1 / Math.sqrt(1 - beta2 ** step)
  const size = gradient.length
  const make = () => new (gradient.constructor as new (size: number) => T)(size)
  const before = { params: state.params, m: state.slots.m ?? make(), v: state.slots.v ?? make() }
  const [params, m, v] = [make(), make(), make()]
  for (let i = 0; i < size; i++) {
    const param = before.params[i] as number
    const clipped = (gradient[i] as number) * clip
    const g = isCoupled ? clipped + weightDecay * param : clipped
    const mean = beta1 * (before.m[i] as number) + (1 - beta1) * g
    const square = beta2 * (before.v[i] as number) + (1 - beta2) * g * g
    m[i] = mean
    v[i] = square
    params[i] = param * decay - (rate * mean) / (Math.sqrt(square) * spread + epsilon)
  }
  return { params, slots: { m, v }, step }
}
