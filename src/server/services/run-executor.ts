// Carries out run operations on an engine and settles their futures: the record first, then the answer. An operation that
// fails is its own affair; the batch goes on. What an engine's death leaves open is done again by its successor.

import type { Kysely, Transaction } from 'kysely'
import { type Engine, EngineError, type Outcome, type TrainingItem } from '../../backends/backend.ts'
import type { Reply } from '../calls.ts'
import type { Database } from '../store/schema.ts'
import { transact } from '../store/transact.ts'
import type { AdapterStates, Gave } from './adapter-states.ts'
import type { Checkpoints } from './checkpoints.ts'
import { isEngineLoss, type Survival, staysInJournal } from './engine-loss.ts'
import type { Futures } from './futures.ts'
import type { LimitsOf } from './limits.ts'
import type { LiveAdapters } from './live-adapters.ts'
import type { Onlookers } from './onlookers.ts'
import { isDatabaseTrouble, type Patience } from './patience.ts'
import type { Quotas } from './quotas.ts'
import type { RestartPoints } from './restart-points.ts'
import type { RunOperation, RunWork } from './run-operation.ts'
import type { Run, Runs } from './runs.ts'
import { type Done, json, SingleOperations, usedBy } from './single-operations.ts'
import type { Tenure } from './tenure.ts'
import { stepMetrics, targetsOf, trainingMetrics } from './training-metrics.ts'
import { writeUsage } from './usage.ts'

export interface ExecutorParts {
  /** In which all its work belongs. */
  readonly tenure: Tenure
  readonly db: Kysely<Database>
  readonly futures: Futures
  readonly patience: Patience
  readonly runs: Runs
  readonly checkpoints: Checkpoints
  readonly survival: Survival
  readonly adapters: LiveAdapters
  readonly restartPoints: RestartPoints
  readonly limitsOf: LimitsOf
  readonly quotas: Quotas
  readonly onlookers: Onlookers
  /** What operations change besides their adapter. */
  readonly states: Pick<AdapterStates, 'note'>
  readonly log: (cause: unknown, id: string | null) => void
  /** Told when a run takes no more operations. */
  readonly onUnloaded: (run: Run) => Promise<void>
}

type Work<K extends RunWork['kind']> = Extract<RunWork, { kind: K }>
type Also = Parameters<Futures['resolve']>[3]
export class RunExecutor {
  readonly #parts: ExecutorParts
  readonly #singles: SingleOperations
  /** Batches under way. */
  #carrying = 0

  constructor(parts: ExecutorParts) {
    this.#parts = parts
    this.#singles = new SingleOperations(parts, this.#fenced)
  }

  /** Records that these are carried out now, in this order. Gives those that another server has not ended meanwhile. */
  async start(operations: readonly RunOperation[]): Promise<ReadonlySet<string>> {
    const { futures, tenure } = this.#parts
    const ids = operations.flatMap(({ id }) => id ?? [])
    return new Set(await futures.start(ids, tenure))
  }

  /** All operations of the batch are of one run and one class. Never throws. */
  async carry(batch: readonly RunOperation[], started: Promise<ReadonlySet<string>>): Promise<void> {
    const [first] = batch
    if (!first) return
    const { survival } = this.#parts
    const open = new Set(batch)
    this.#carrying++
    try {
      await this.#begin(open, started)
      const lost = await survival.carry(first.run.base_model, (engine) => this.#unlessLost(engine, open))
      if (!lost) return
      for (const operation of [...open]) {
        const alone = new Set([operation])
        const again = survival.carry(first.run.base_model, (engine) => this.#outlast(engine, alone), lost)
        await again.catch((cause) => this.#reject(operation, cause))
      }
    } catch (cause) {
      for (const operation of open) await this.#reject(operation, cause)
    } finally {
      this.#carrying--
    }
  }

  /** Takes out of `open` what another server has ended meanwhile. */
  async #begin(open: Set<RunOperation>, started: Promise<ReadonlySet<string>>): Promise<void> {
    const ids = await started
    for (const operation of [...open]) {
      if (operation.id === null || ids.has(operation.id)) continue
      this.#parts.futures.drop(operation.id)
      open.delete(operation)
    }
  }

  /** The engine, if it was lost on the way: then each of what is left goes by itself. */
  async #unlessLost(engine: Engine, open: Set<RunOperation>): Promise<Engine | null> {
    try {
      await this.#outlast(engine, open)
      return null
    } catch (cause) {
      if (isEngineLoss(cause)) return engine
      throw cause
    }
  }

  /** What needs something of the database, to come back or to be saved, waits for it. */
  async #outlast(engine: Engine, open: Set<RunOperation>): Promise<void> {
    const [first] = open
    const waiting = { id: first?.id ?? null, isWorthIt: isDatabaseTrouble }
    await this.#parts.patience.outlast(() => this.#carry(engine, open), waiting)
  }

  /** Takes out of `open` what is settled. After trouble with the database it may be called again with what is left. */
  async #carry(engine: Engine, open: Set<RunOperation>): Promise<void> {
    const { adapters, restartPoints } = this.#parts
    const [first] = open
    if (!first) return
    const { run, work, batchClass } = first
    if (work.kind !== 'create_model' && work.kind !== 'unload_model') await adapters.use(engine, run, this.#fenced)
    try {
      const start = performance.now()
      let stepped: readonly RunOperation[] = []
      if (batchClass === 'train') await this.#train(engine, open)
      else if (batchClass === 'optim') stepped = await this.#optim(engine, open)
      else await this.#single(engine, first, open)
      // The engine was shared by as many.
      restartPoints.spend(run.id, (performance.now() - start) / this.#carrying)
      for (const { id } of stepped) await this.#keep(engine, run, id)
    } finally {
      adapters.letGo(engine, run.id)
    }
  }

  /** Without a restart point nothing is lost: the journal goes further back then. */
  async #keep(engine: Engine, run: Run, operation: string | null): Promise<void> {
    const { restartPoints, log } = this.#parts
    if (operation === null || !restartPoints.isDue(run.id)) return
    await restartPoints
      .take(engine, run.id, operation, this.#fenced)
      .then(() => this.#parts.adapters.noteRestartPoint(engine, run.id))
      .catch((cause) => {
        if (!isEngineLoss(cause) && !staysInJournal(cause)) log(cause, operation)
      })
  }

  async #train(engine: Engine, open: Set<RunOperation>): Promise<void> {
    const byId = new Map([...open].map((o) => [o.id, o]))
    for await (const outcome of engine.train([...open].map((o) => this.#item(o)))) {
      const operation = byId.get(outcome.operation)
      if (!operation) continue
      this.#noteChange(engine, operation, outcome)
      await this.#settle(operation, outcome, (result) => {
        const { item, matrix } = operation.work as Work<'train'>
        const logprobs = result.logprobs.map((values, i) => ({
          values,
          width: item.datums[i]?.width ?? 1,
          matrix: matrix[i] ?? false,
        }))
        const { entropies, embeddings } = result
        const extras = { ...(entropies && { entropies }), ...(embeddings && { embeddings }) }
        return { type: 'training', value: { logprobs, ...extras, metrics: trainingMetrics(item, result) } }
      })
      open.delete(operation)
      if ('result' in outcome) this.#tellPass(operation, outcome.result.loss)
    }
    if (open.size) throw new Error('the engine ended a batch without all outcomes')
  }

  #tellPass({ run, work, tokens }: RunOperation, loss: number): void {
    const { item } = work as Work<'train'>
    if (item.backward) this.#parts.onlookers.trained(run.id, { loss, tokens, targets: targetsOf(item.datums) })
  }

  #item({ run: { tenant }, work }: RunOperation): TrainingItem {
    const share = { party: tenant, weight: this.#parts.limitsOf(tenant).weight }
    return { ...(work as Work<'train'>).item, share }
  }

  /** Gives those whose step was taken: they have no gradient now. One that was refused may have kept it. */
  async #optim(engine: Engine, open: Set<RunOperation>): Promise<RunOperation[]> {
    const byId = new Map([...open].map((o) => [o.id, o]))
    const stepped: RunOperation[] = []
    for (const outcome of await engine.optimStep([...open].map((o) => (o.work as Work<'optim_step'>).step))) {
      const operation = byId.get(outcome.operation)
      if (!operation) continue
      this.#noteChange(engine, operation, outcome)
      await this.#settle(operation, outcome, (result) => json({ metrics: stepMetrics(result), type: 'optim_step' }))
      open.delete(operation)
      if (!('result' in outcome)) continue
      stepped.push(operation)
      this.#parts.onlookers.stepped(operation.run.id, outcome.result.step)
    }
    return stepped
  }

  /** What failed has changed nothing, but for a step, which may have used up the gradient: then the journal knows better. */
  #noteChange(engine: Engine, { id, run, work }: RunOperation, outcome: Outcome<unknown>): void {
    if ('error' in outcome) return
    const hasGradient = work.kind === 'train'
    if (work.kind !== 'train' || work.item.backward) this.#parts.adapters.noteChange(engine, run.id, id, hasGradient)
  }

  async #settle<T extends Gave>(
    operation: RunOperation,
    outcome: Outcome<T>,
    reply: (result: T) => Reply,
  ): Promise<void> {
    if (!operation.id) return
    // An outcome's error is plain data: only as the engine's own does it keep its code and category.
    if ('error' in outcome) return this.#reject(operation, new EngineError(outcome.error))
    const plan = (outcome.result as { plan?: unknown }).plan
    const { run, tokens } = operation
    const used = {
      ...usedBy(run),
      kind: 'training',
      tokens,
    } as const
    await this.#parts.futures.resolve(operation.id, reply(outcome.result), plan, async (trx) => {
      await writeUsage(trx, used)
      await this.#parts.states.note(trx, operation, outcome.result)
    })
    if (tokens) this.#parts.onlookers.used(used)
  }

  async #single(engine: Engine, operation: RunOperation, open: Set<RunOperation>): Promise<void> {
    const { kind } = operation.work
    let done: Done
    try {
      done = await this.#singles.carry(engine, operation)
    } catch (cause) {
      if (isEngineLoss(cause)) throw cause
      const failedToStart = kind === 'create_model'
      // Of what was half done nothing stays in the engine; the journal brings back what was before.
      if (failedToStart || kind === 'load_weights') await this.#parts.adapters.release(engine, operation.run.id)
      if (isDatabaseTrouble(cause)) throw cause
      open.delete(operation)
      await this.#reject(
        operation,
        cause,
        failedToStart ? (trx) => this.#parts.runs.setState(operation.run.id, 'failed', trx) : undefined,
      )
      return
    }
    const also = async (trx: Transaction<Database>) => {
      await done.also?.(trx)
      await this.#parts.states.note(trx, operation, done.reply)
    }
    if (operation.id) await this.#parts.futures.resolve(operation.id, done.reply, undefined, also)
    else if (done.also) await this.#fenced(done.also)
    open.delete(operation)
    // The answer is out: what is tidied up after it cannot change it.
    await done.after?.().catch((cause) => this.#parts.log(cause, operation.id))
  }

  /** For what is written beside the end of an operation. */
  readonly #fenced = (write: NonNullable<Also>): Promise<void> =>
    transact(this.#parts.db, async (trx) => {
      await this.#parts.tenure.check(trx)
      await write(trx)
    })

  /** Never throws. */
  async #reject(operation: RunOperation, cause: unknown, also?: Also): Promise<void> {
    if (staysInJournal(cause)) return
    if (operation.id) await this.#parts.futures.reject(operation.id, cause, also)
    else this.#parts.log(cause, null)
  }
}
