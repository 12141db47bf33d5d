// Which runs have their adapter in an engine now, and how the others get it back: the restart point's weights and optimiser
// state, then every operation that changed the adapter since, by its journalled plan and so with the same bits. Nothing is
// brought back before somebody needs it. Knows engines and the journal; answers nobody.

import { type Engine, EngineError, type OptimStep, type TrainingItem } from '../../backends/backend.ts'
import { serviceError } from '../errors.ts'
import type { Journal, OperationRow } from '../store/journal.ts'
import type { Checkpoints } from './checkpoints.ts'
import { journalledWork } from './journalled-work.ts'
import type { Restore } from './run-operation.ts'
import { loraConfig, type Run, type Runs } from './runs.ts'

export interface LiveAdapterParts {
  readonly journal: Journal
  readonly runs: Runs
  readonly checkpoints: Checkpoints
  /** For the operator: what was brought back, and what could not be repeated bit for bit. */
  readonly log: (line: string) => void
}

export class LiveAdapters {
  readonly #parts: LiveAdapterParts
  readonly #live = new WeakMap<Engine, Set<string>>()
  constructor(parts: LiveAdapterParts) {
    this.#parts = parts
  }

  has(engine: Engine, run: string): boolean {
    return this.#of(engine).has(run)
  }

  async create(engine: Engine, run: Run, from?: Restore): Promise<void> {
    await engine.createAdapter(run.id, loraConfig(run))
    await this.#orRelease(engine, run, async () => {
      if (from) await this.load(engine, run.id, from)
    })
  }

  async load(engine: Engine, run: string, { checkpoint, path, optimizer }: Restore): Promise<void> {
    if (optimizer && !checkpoint.has_optimizer) throw serviceError('NO_OPTIMIZER_STATE', { path })
    const folder = this.#parts.checkpoints.absolute(checkpoint.folder)
    await engine.loadAdapter(run, folder, optimizer ? 'weights+optimizer' : 'weights')
  }

  async release(engine: Engine, run: string): Promise<void> {
    if (this.#of(engine).delete(run)) await engine.releaseAdapter(run)
  }

  /** Brings the adapter back where it is missing. Throws MODEL_GONE for a run that has ended. */
  async ensure(engine: Engine, { tenant, id }: Run): Promise<void> {
    if (this.has(engine, id)) return
    const run = await this.#parts.runs.require(tenant, id)
    await engine.createAdapter(id, loraConfig(run))
    await this.#orRelease(engine, run, () => this.#restore(engine, run))
  }

  async #orRelease(engine: Engine, run: Run, fill: () => Promise<void>): Promise<void> {
    try {
      await fill()
      this.#of(engine).add(run.id)
    } catch (cause) {
      await engine.releaseAdapter(run.id).catch(() => {})
      throw cause
    }
  }

  async #restore(engine: Engine, run: Run): Promise<void> {
    const { journal, checkpoints, log } = this.#parts
    if (run.restart_folder !== null) {
      await engine.loadAdapter(run.id, checkpoints.absolute(run.restart_folder), 'weights+optimizer')
    }
    const rows = await journal.effectsAfter(run.id, run.restart_position)
    for (const row of rows) await this.#repeat(engine, row)
    log(`brought ${run.id} back by ${rows.length} operations`)
  }

  async #repeat(engine: Engine, row: OperationRow): Promise<void> {
    const work = journalledWork(row, await this.#parts.journal.payloadOf(row))
    if (work.kind === 'train') {
      const plan = row.plan === null ? {} : { plan: JSON.parse(row.plan) as NonNullable<TrainingItem['plan']> }
      await this.#train(engine, { ...work.item, ...plan })
    } else if (work.kind === 'optim_step') await step(engine, work.step, row.state === 'failed')
    else if (work.kind === 'load_weights') await this.load(engine, row.subject ?? '', work.from)
  }

  async #train(engine: Engine, item: TrainingItem): Promise<void> {
    for await (const outcome of engine.train([item])) {
      if ('result' in outcome) continue
      const { code, message } = outcome.error
      if (code !== 'PLAN_MISMATCH' || !item.plan) throw new EngineError(outcome.error)
      // Another processor or runtime: the same sums in another order of rounding, and the operator is told.
      this.#parts.log(`operation ${item.operation} is repeated, though not bit for bit: ${message}`)
      const { plan: _, ...unplanned } = item
      await this.#train(engine, unplanned)
    }
  }

  #of(engine: Engine): Set<string> {
    let live = this.#live.get(engine)
    if (!live) {
      live = new Set()
      this.#live.set(engine, live)
    }
    return live
  }
}

/** A step that was refused then is refused again, and uses up the gradient as it did. */
async function step(engine: Engine, request: OptimStep, mayFail: boolean): Promise<void> {
  for (const outcome of await engine.optimStep([request])) {
    if ('error' in outcome && !mayFail) throw new EngineError(outcome.error)
  }
}
