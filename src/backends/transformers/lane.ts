// A batch of sequences that decode together: one cache, one set of adapter columns. There is a second lane only while the
// adapters in use need more columns than one run may have. Row i of the cache belongs to members[i].

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
