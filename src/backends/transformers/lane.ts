// A batch of sequences that decode together: one cache, one set of adapter columns. There is a second lane only while the
// adapters in use need more columns than one run may have. Row i of the cache belongs to members[i].

import type { AdapterWeights } from './adapter.ts'
import { AdapterStacks } from './adapter-stacks.ts'
import { KvCache } from './kv-cache.ts'
import type { SamplingModel } from './sampling-graph.ts'
import type { Sequence } from './sequence.ts'
import type { Wave } from './wave.ts'

export interface Member {
  readonly wave: Wave
  readonly sequence: Sequence
}

export class Lane {
  readonly cache: KvCache
  readonly stacks: AdapterStacks
  readonly members: Member[] = []

  constructor(config: SamplingModel) {
    this.cache = new KvCache(config)
    this.stacks = new AdapterStacks(config)
  }

  /** A sequence whose prompt is row 0 of `prompt` starts to decode. */
  join(member: Member, prompt: KvCache): void {
    this.cache.addCopy(prompt, 0)
    this.members.push(member)
  }

  /** Frees a row; the last member takes it. */
  leave(row: number): void {
    this.cache.remove(row)
    const last = this.members.pop() as Member
    if (row < this.members.length) this.members[row] = last
    this.cache.trim()
  }
}

/** Each lane has columns for all adapters in use, which is memory: 128 columns of a 135M model are 300 MB. */
const MAX_LANES = 4

export class Lanes {
  readonly #config: SamplingModel
  readonly #lanes: Lane[]

  constructor(config: SamplingModel) {
    this.#config = config
    this.#lanes = [new Lane(config)]
  }

  get all(): readonly Lane[] {
    return this.#lanes
  }
  get members(): readonly Member[] {
    return this.#lanes.flatMap((lane) => lane.members)
  }

  /** A lane with columns for one more user of the snapshot; null while others use too many of all. */
  acquire(snapshot: AdapterWeights | null): Lane | null {
    const known = this.#lanes.find((lane) => lane.stacks.acquire(snapshot))
    if (known || this.#lanes.length === MAX_LANES) return known ?? null
    const lane = new Lane(this.#config)
    lane.stacks.acquire(snapshot)
    this.#lanes.push(lane)
    return lane
  }

  /** Lets a lane go that nobody is in or on the way to; the first stays. */
  trim(busy: Lane | undefined): void {
    const spare = this.#lanes.findIndex((lane, i) => i > 0 && lane.members.length === 0 && busy !== lane)
    if (spare > 0) this.#lanes.splice(spare, 1)
  }
}
