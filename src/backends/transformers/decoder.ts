// The two sessions of sampling and the feeding of them. Knows shapes and names of values; which rows there are, what is
// drawn from the results and in which order runs happen is the caller's.

import type { GenerationRequest } from '../backend.ts'
import { engineError } from '../engine-errors.ts'
import type { AdapterStacks } from './adapter-stacks.ts'
import type { Compute } from './compute.ts'
import type { KvCache } from './kv-cache.ts'
import { Runner } from './runner.ts'
import { bodyGraph, headGraph, type SamplingModel } from './sampling-graph.ts'
import type { Weights } from './weights.ts'

/** One row of the head: an adapter by hash, a temperature and the tokens whose logits are asked. */
export interface HeadRow {
  readonly adapter: string | null
  readonly temperature: number
  readonly targets?: ArrayLike<number>
}

/** What the head says of one row. Logits are raw; see `logprob`. */
export interface HeadResult {
  /** [k], best first. */
  readonly logits: Float32Array
  readonly ids: Int32Array
  /** Logits of the row's targets. */
  readonly targets: Float32Array
  /** Sum of exp(logit - best) over the whole vocabulary, at temperature 1 and exp((logit - best) / T) at the row's. */
  readonly sum: number
  readonly temperedSum: number
}

/** Largest 1 / temperature: zero times infinity would be NaN. */
const STEEPEST = 1e30

/** log p of a logit, untempered. */
export const logprob = (row: HeadResult, logit: number): number => logit - (row.logits[0] as number) - Math.log(row.sum)

/** log p of a logit under softmax(logits / temperature). */
export const temperedLogprob = (row: HeadResult, logit: number, temperature: number): number =>
  (logit - (row.logits[0] as number)) / temperature - Math.log(row.temperedSum)

/** False when a logit of the row is NaN or infinite. */
export const isFiniteRow = (row: HeadResult): boolean =>
  Number.isFinite(row.sum) && Number.isFinite(row.temperedSum) && Number.isFinite(row.logits[0])

export const nonFinite = ({ operation, snapshot }: GenerationRequest) =>
  engineError(
    'NON_FINITE',
    `generation ${operation}: the logits of ${snapshot ? `snapshot ${snapshot}` : 'the base model'} are not finite for this prompt`,
  )

export class Decoder {
  readonly config: SamplingModel
  readonly #body: Runner
  readonly #head: Runner
  readonly #compute: Compute

  private constructor(config: SamplingModel, body: Runner, head: Runner, compute: Compute) {
    this.config = config
    this.#body = body
    this.#head = head
    this.#compute = compute
  }

  static async create(config: SamplingModel, weights: Weights, options: { threads: number; compute: Compute }) {
    const runner = { threads: options.threads, folder: weights.folder, prepack: true }
    const body = await Runner.create(bodyGraph(config, weights), runner)
    const head = await Runner.create(headGraph(config, weights), runner)
    return new Decoder(config, body, head, options.compute)
  }

  /**
   * Runs `width` tokens of each row of the cache, row-major in `ids`, and appends their keys and values. `rows` says which
   * of the tokens come back as `hidden` [rows, H]; at least one. The new keys and values are [layers * B, kvHeads, width, D].
   */
  async body(
    cache: KvCache,
    stacks: AdapterStacks,
    adapters: readonly (string | null)[],
    ids: readonly number[],
    rows: readonly number[],
  ): Promise<{ hidden: Float32Array; keys: Float32Array; values: Float32Array }> {
    const width = ids.length / cache.rows
    cache.reserve(width)
    const result = await this.#compute.run(() =>
      this.#body.run({
        ids: { data: BigInt64Array.from(ids, BigInt), dims: [cache.rows, width] },
        rows: { data: BigInt64Array.from(rows, BigInt), dims: [rows.length] },
        mask: stacks.mask(adapters),
        ...stacks.feeds('body'),
        ...cache.feeds(),
      }),
    )
    const { hidden, keys, values } = result as Record<'hidden' | 'keys' | 'values', Float32Array>
    cache.append(keys, values, width)
    return { hidden, keys, values }
  }

  /** The `k` best tokens, normalisers and target logits of each row of `hidden` [rows, H]. */
  async head(stacks: AdapterStacks, hidden: Float32Array, rows: readonly HeadRow[], k: number): Promise<HeadResult[]> {
    const count = rows.length
    const width = rows.reduce((most, { targets }) => Math.max(most, targets?.length ?? 0), 1)
    const asked = new BigInt64Array(count * width)
    rows.forEach(({ targets = [] }, row) => {
      for (let i = 0; i < targets.length; i++) asked[row * width + i] = BigInt(targets[i] as number)
    })
    const { best, ids, target, sums } = await this.#compute.run(() =>
      this.#head.run({
        hidden: { data: hidden, dims: [count, this.config.hidden] },
        mask: stacks.mask(rows.map((row) => row.adapter)),
        ...stacks.feeds('head'),
        k: { data: BigInt64Array.of(BigInt(k)), dims: [1] },
        targets: { data: asked, dims: [count, width] },
        inverse: { data: Float32Array.from(rows, (row) => Math.min(1 / row.temperature, STEEPEST)), dims: [count, 1] },
      }),
    )
    return rows.map(({ targets }, i) => ({
      logits: (best as Float32Array).subarray(i * k, (i + 1) * k),
      ids: (ids as Int32Array).subarray(i * k, (i + 1) * k),
      targets: (target as Float32Array).subarray(i * width, i * width + (targets?.length ?? 0)),
      sum: (sums as Float32Array)[2 * i] as number,
      temperedSum: (sums as Float32Array)[2 * i + 1] as number,
    }))
  }

  async close(): Promise<void> {
    await this.#body.release()
    await this.#head.release()
  }
}
