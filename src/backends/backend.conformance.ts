// The executable half of backend.ts: what every engine must do, as a list of checks that any test runner can run.
//
//   for (const { name, run } of backendConformance) it(name, () => run({ engine, open, folder }))
//
// All share one engine of any model with a vocabulary of 16 and a context of 64 or more; small models keep it quick. Bits
// are compared where the interface promises bits. Knows the interface alone.

import { ADAPTER_CHECKS } from './conformance/adapters.ts'
import { LIFECYCLE_CHECKS } from './conformance/lifecycle.ts'
import { LOSS_CHECKS } from './conformance/losses.ts'
import { OPTIMIZER_CHECKS } from './conformance/optimizer.ts'
import { SAMPLING_CHECKS } from './conformance/sampling.ts'
import { STREAMING_CHECKS } from './conformance/streaming.ts'
import type { Check } from './conformance/tenant.ts'
import { TRAINING_CHECKS } from './conformance/training.ts'

export type { Bench, Check } from './conformance/tenant.ts'

export const backendConformance: readonly Check[] = [
  ...LIFECYCLE_CHECKS,
  ...ADAPTER_CHECKS,
  ...TRAINING_CHECKS,
  ...LOSS_CHECKS,
  ...OPTIMIZER_CHECKS,
  ...SAMPLING_CHECKS,
  ...STREAMING_CHECKS,
]
