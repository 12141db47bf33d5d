// Which kinds of operations change an adapter: those are repeated, in their order, when it is brought back, and their calls
// are kept until a restart point makes them needless.

import type { OperationKind } from './schema.ts'

export const EFFECTS = [
  'forward_backward',
  'clip_gradients',
  'zero_grad',
  'optim_step',
  'load_weights',
] as const satisfies readonly OperationKind[]
