// Runs micro-batches of one base model: sessions by graph key, rotary tables, input arrays. Knows how a batch becomes
// inputs; knows nothing of operations, gradients' owners or outcomes.

import type { ModelConfig } from '../../formats/model-config.ts'
import { ropeTablesFloat64 } from '../../formats/rope.ts'
import type { DatumLimits } from '../datum-check.ts'
import { type Batch, graphKeyOf } from './batch.ts'
import { batchFeeds, type RotaryTables } from './batch-arrays.ts'
import type { DecoderConfig } from './layers.ts'
import { Runner, type Values } from './runner.ts'
import { Sessions } from './sessions.ts'
import { type GraphKey, graphKeyText, trainingGraph } from './training-graph.ts'
import { type Floats, stackAdapters } from './training-stacks.ts'
import type { Weights } from './weights.ts'

/** What training needs to know of a model. */
export type TrainableModel = DecoderConfig & Pick<ModelConfig, 'rope' | 'maxContext' | 'slidingWindow'>

export interface ExecutorOptions {
  readonly threads: number
  /** How many sessions are kept. */
  readonly sessions: number
  /** Words a block of the head; tests use small ones. */
  readonly vocabularyBlock?: number
}

/** Tables start at this many positions and double. */
const FIRST_POSITIONS = 512

export class Executor {
  readonly model: TrainableModel
  readonly weights: Weights
  readonly #options: ExecutorOptions
  readonly #sessions: Sessions
  #tables: RotaryTables | undefined

  constructor(model: TrainableModel, weights: Weights, options: ExecutorOptions) {
    this.model = model
    this.weights = weights
    this.#options = options
    this.#sessions = new Sessions(options.sessions)
  }

  /** Outputs by name, see `trainingGraph`. */
  async run(batch: Batch): Promise<Record<string, Floats>> {
    const { type } = this.weights
    const runner = await this.#session(graphKeyOf(batch.shape))
    const { projections, columns } = batch.shape
    const groups = batch.parts.map(({ work, place }) => ({ weights: work.weights, column: place.column }))
    const outputs: Record<string, Values> = await runner.run({
      ...batchFeeds(batch, type, this.#rotary(batch.shape.span), this.model),
      ...stackAdapters(this.model, type, projections, columns, groups),
    })
    return outputs as Record<string, Floats>
  }

  get limits(): DatumLimits {
    return this.model
  }

  /** Makes the session of a graph and runs it once: one token of nobody. */
  async warm(key: GraphKey): Promise<void> {
    const sizes = { tokens: 1, columns: 1, graded: 1, scored: 1, width: 1, spans: [0], span: 1 }
    await this.run({ shape: { ...key, ...sizes }, parts: [] })
  }

  #session(key: GraphKey): Promise<Runner> {
    const { weights, model } = this
    return this.#sessions.get(graphKeyText(key), () =>
      Runner.create(trainingGraph(model, weights, key, this.#options.vocabularyBlock), {
        threads: this.#options.threads,
        folder: weights.folder,
        prepack: false,
        optimization: weights.type === 'float64' ? 'basic' : 'all',
      }),
    )
  }

  /** Tables of at least so many positions. */
  #rotary(positions: number): RotaryTables {
    const known = this.#tables?.cos.dims[0] ?? 0
    if (this.#tables && known >= positions) return this.#tables
    let size = Math.max(known, FIRST_POSITIONS)
    while (size < positions) size *= 2
    const { cos, sin } = ropeTablesFloat64(this.model, size)
    const dims = [size, this.model.headDim / 2]
    const table = (values: Float64Array) => ({
      data: this.weights.type === 'float64' ? values : Float32Array.from(values),
      dims,
    })
    this.#tables = { cos: table(cos), sin: table(sin) }
    return this.#tables
  }

  close(): Promise<void> {
    return this.#sessions.close()
  }
}
