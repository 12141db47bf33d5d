// Whether frozen weights can be sampled from at all: not too wide, and no number that is none. Looks at each snapshot once.

import type { GenerationRequest } from '../backend.ts'
import { engineError } from '../engine-errors.ts'
import type { AdapterWeights } from './adapter.ts'
import { MAX_COLUMNS } from './low-rank.ts'

export class SnapshotCheck {
  readonly #finite = new WeakMap<Float32Array, boolean>()

  /** Throws INVALID_ADAPTER or NON_FINITE. */
  check({ operation }: GenerationRequest, { layout, params }: AdapterWeights): void {
    if (layout.rank > MAX_COLUMNS) {
      throw engineError('INVALID_ADAPTER', `rank ${layout.rank} is above ${MAX_COLUMNS}, the most that can be sampled`)
    }
    const finite = this.#finite.get(params) ?? params.every(Number.isFinite)
    this.#finite.set(params, finite)
    if (!finite) throw engineError('NON_FINITE', `generation ${operation}: the adapter's weights are not all finite`)
  }
}
