// A prompt on its way into the cache: chunk after chunk on a fixed grid from position 0, or from where the prefix cache ends,
// scored on the way where that is asked. Knows one prompt; what is drawn from its last row is the generator's.

import { type Decoder, isFiniteRow, nonFinite } from './decoder.ts'
import { settle } from './drawing.ts'
import { KvCache } from './kv-cache.ts'
import type { Lane } from './lane.ts'
import { blockNames, type PrefixCache } from './prefix-cache.ts'
import { PromptScore } from './prompt-score.ts'
import type { SamplingModel } from './sampling-graph.ts'
import type { Wave } from './wave.ts'

/** Tokens a chunk has, the last one fewer; the prefix cache keeps whole ones. */
export const CHUNK = 64
/** Stands for the base model where weights are named. */
const BASE = 'base'

export class Prefill {
  readonly wave: Wave
  readonly lane: Lane
  /** The prompt is row 0. */
  readonly cache: KvCache
  /** Null when nothing is asked about the prompt; a request's first wave answers for all. */
  readonly score: PromptScore | null
  /** Tokens whose keys and values were there before. */
  readonly cachedTokens: number
  readonly #prefixes: PrefixCache
  readonly #weights: string
  /** Of the prompt's whole chunks, as the prefix cache knows them; none when it must not. */
  readonly #names: readonly string[]
  #position: number

  constructor(wave: Wave, lane: Lane, config: SamplingModel, prefixes: PrefixCache) {
    const { request, snapshot, key } = wave.job
    const { prompt, prefixScope } = request
    this.wave = wave
    this.lane = lane
    this.cache = new KvCache(config)
    this.cache.add()
    this.score = wave.first === 0 ? PromptScore.of(request, key) : null
    this.#prefixes = prefixes
    this.#weights = snapshot?.hash ?? BASE
    this.#names = prefixScope === undefined ? [] : blockNames(prefixScope, this.#weights, prompt, CHUNK)
    // The token before the first row that is looked at, or the last one, must be run.
    const needed = Math.min(prompt.length, this.score?.from ?? prompt.length) - 1
    this.cachedTokens = this.#fill(Math.floor(needed / CHUNK))
    this.#position = this.cachedTokens
  }

  /** Puts what is known of the first chunks, at most so many, into the cache; returns how many tokens that is. */
  #fill(most: number): number {
    const blocks = this.#prefixes.find(this.#names.slice(0, most))
    if (blocks.length > 0) this.cache.reserve(blocks.length * CHUNK)
    for (const { keys, values } of blocks) this.cache.append(keys, values, CHUNK)
    return blocks.length * CHUNK
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
    // The head looks at the token before the position it is asked about: the prompt's last token has no successor yet.
    const from = this.score ? Math.max(first, this.score.from - 1) : this.#position
    const scored = Math.max(0, this.#position - (this.isDone ? 1 : 0) - from)
    const rows = Array.from({ length: scored }, (_, i) => from - first + i)
    if (rows.at(-1) !== last) rows.push(last)
    const adapter = snapshot?.hash ?? null
    const { hidden, ...block } = await decoder.body(this.cache, this.lane.stacks, [adapter], [...tokens], rows)
    if (tokens.length === CHUNK) this.#prefixes.add(this.#names.slice(0, first / CHUNK + 1), this.#weights, block)
    if (scored > 0) await this.#score(decoder, this.score as PromptScore, hidden.subarray(0, scored * width), from + 1)
    return { tokens: tokens.length, hidden: hidden.subarray(-width) }
  }

  /** `hidden` [rows, H] of the tokens before position `from` and those after it. */
  async #score(decoder: Decoder, score: PromptScore, hidden: Float32Array, from: number): Promise<void> {
    const { request, snapshot } = this.wave.job
    const { hidden: width, vocabulary } = decoder.config
    const { stacks } = this.lane
    const positions = Array.from({ length: hidden.length / width }, (_, i) => from + i)
    const rows = positions.map((position) => score.row(position, snapshot?.hash ?? null))
    const results = await decoder.head(stacks, hidden, rows, score.candidates(vocabulary))
    for (const [i, row] of results.entries()) {
      if (!isFiniteRow(row)) throw nonFinite(request)
      score.set(from + i, row)
    }
    const draws = positions.flatMap((position, row) => score.draws(position, row))
    if (draws.length === 0) return
    const drawn = await settle(decoder, { stacks, hidden, rows, results }, draws)
    const each = draws.length / positions.length
    drawn.forEach((one, i) => {
      if (!one) throw nonFinite(request)
      score.setDrawn(from + Math.floor(i / each), i % each, one)
    })
  }
}
