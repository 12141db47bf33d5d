// A prompt on its way into the cache: chunk after chunk from position 0 on a fixed grid, scored on the way where that is
// asked. Knows one prompt; what is drawn from its last row is the generator's.

import { type Decoder, isFiniteRow, nonFinite } from './decoder.ts'
import { KvCache } from './kv-cache.ts'
import type { Lane } from './lane.ts'
import { PromptScore } from './prompt-score.ts'
import type { SamplingModel } from './sampling-graph.ts'
import type { Wave } from './wave.ts'

/** Tokens a chunk has, the last one fewer. A prefix cache may start at any multiple of it. */
export const CHUNK = 64

export class Prefill {
  readonly wave: Wave
  readonly lane: Lane
  /** The prompt is row 0. */
  readonly cache: KvCache
  /** Null when nothing is asked about the prompt; a request's first wave answers for all. */
  readonly score: PromptScore | null
  #position = 0

  constructor(wave: Wave, lane: Lane, config: SamplingModel) {
    this.wave = wave
    this.lane = lane
    this.cache = new KvCache(config)
    this.cache.add()
    this.score = wave.first === 0 ? PromptScore.of(wave.job.request) : null
  }

  get isDone(): boolean {
    return this.#position === this.wave.job.request.prompt.length
  }

  /** Runs the next chunk. Returns how many tokens it had and the hidden row [H] of the last. Throws NON_FINITE. */
  async advance(decoder: Decoder): Promise<{ tokens: number; hidden: Float32Array }> {
    const { request, snapshot } = this.wave.job
    const { hidden: width } = decoder.config
    const first = this.#position
    const tokens = request.prompt.subarray(first, first + CHUNK)
    const last = tokens.length - 1
    this.#position += tokens.length
    // The head looks at the token before the one it is asked about: the prompt's last token has no successor yet.
    const scored = this.score ? tokens.length - (this.isDone ? 1 : 0) : 0
    const rows = scored > last ? [...tokens.keys()] : [...Array(scored).keys(), last]
    const adapter = snapshot?.hash ?? null
    const hidden = await decoder.body(this.cache, this.lane.stacks, [adapter], [...tokens], rows)
    if (scored > 0) await this.#score(decoder, hidden.subarray(0, scored * width), first)
    return { tokens: tokens.length, hidden: hidden.subarray(-width) }
  }

  async #score(decoder: Decoder, hidden: Float32Array, first: number): Promise<void> {
    const { request, snapshot } = this.wave.job
    const adapter = snapshot?.hash ?? null
    const targets = request.prompt.subarray(first + 1, first + 1 + hidden.length / decoder.config.hidden)
    const rows = Array.from(targets, (target) => ({ adapter, temperature: 1, target }))
    const results = await decoder.head(this.lane.stacks, hidden, rows, this.score?.k ?? 1)
    for (const [i, row] of results.entries()) {
      if (!isFiniteRow(row)) throw nonFinite(request)
      this.score?.set(first + 1 + i, row)
    }
  }
}
