// The rule `sgd` on flat arrays: gradient descent with momentum, dampening, Nesterov's form and weight decay, as torch.optim.SGD
// defines them: the first step with momentum takes the gradient itself, undampened. Arithmetic is float64.
// Sutskever et al., "On the importance of initialization and momentum in deep learning", 2013.

import type { SgdSpec } from '../../catalogue/optimizers/spec.ts'
import type { Floats, Moving } from './optimizer-state.ts'

/** The state after one step, in new arrays. `clip` multiplies the gradient first. Without momentum no state is kept. */
export function sgd<T extends Floats>(state: Moving<T>, gradient: T, spec: SgdSpec, clip: number): Moving<T> {
  const { learningRate, momentum, dampening, nesterov, weightDecay } = spec
  const size = gradient.length
  const make = () => new (gradient.constructor as new (size: number) => T)(size)
  const before = momentum === 0 ? undefined : state.slots.momentum
  const velocity = momentum === 0 ? null : make()
  const params = make()
  for (let i = 0; i < size; i++) {
    const param = state.params[i] as number
    let move = (gradient[i] as number) * clip + weightDecay * param
    if (velocity) {
      const speed = before ? momentum * (before[i] as number) + (1 - dampening) * move : move
      velocity[i] = speed
      move = nesterov ? move + momentum * speed : speed
    }
    params[i] = param - learningRate * move
  }
  return { params, slots: velocity ? { momentum: velocity } : {}, step: state.step + 1 }
}
