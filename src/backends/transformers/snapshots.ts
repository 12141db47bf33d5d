// Frozen adapter weights that samplers draw from, by content: equal weights share one snapshot, which lives until every
// one who published it has released it. Knows nothing of sampling.

import type { SnapshotId } from '../backend.ts'
import { engineError } from '../engine-errors.ts'

/** `hash` tells weights apart: equal ones have the same. */
export class Snapshots<W extends { readonly hash: SnapshotId }> {
  readonly #held = new Map<SnapshotId, { readonly weights: W; uses: number }>()

  get size(): number {
    return this.#held.size
  }

  hold(weights: W): SnapshotId {
    const held = this.#held.get(weights.hash) ?? { weights, uses: 0 }
    held.uses += 1
    this.#held.set(weights.hash, held)
    return weights.hash
  }

  get(id: SnapshotId): W {
    return this.#find(id).weights
  }

  /** True when that was the last use. */
  release(id: SnapshotId): boolean {
    const held = this.#find(id)
    held.uses -= 1
    return held.uses === 0 && this.#held.delete(id)
  }

  #find(id: SnapshotId) {
    const held = this.#held.get(id)
    if (!held) throw engineError('SNAPSHOT_NOT_FOUND', `no snapshot ${id}: it was released, or never published here`)
    return held
  }
}
