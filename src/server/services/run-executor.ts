// Carries out run operations on an engine and settles their futures: the record first, then the answer. An operation that
// fails is its own affair; the batch goes on.

import type { Kysely } from 'kysely'
import { type Engine, EngineError, type Outcome } from '../../backends/backend.ts'
import type { Reply } from '../calls.ts'
import { serviceError, toServiceError } from '../errors.ts'
import type { Journal } from '../store/journal.ts'
import type { Database } from '../store/schema.ts'
import { type Checkpoints, tinkerPath } from './checkpoints.ts'
import type { Futures } from './futures.ts'
import type { RunOperation, RunWork } from './run-operation.ts'
import { loraConfig, type Runs } from './runs.ts'

export interface ExecutorParts {
  readonly db: Kysely<Database>
  readonly journal: Journal
  readonly futures: Futures
  readonly runs: Runs
  readonly checkpoints: Checkpoints
  readonly engine: (baseModel: string) => Engine
  readonly log: (cause: unknown) => void
}

type Work<K extends RunWork['kind']> = Extract<RunWork, { kind: K }>
type Single = Exclude<RunWork['kind'], 'train' | 'optim_step'>
type Also = Parameters<Futures['resolve']>[3]
/** What to answer, and what to write in the same transaction. */
interface Done {
  readonly reply: Reply
  readonly also?: Also
  /** Run once the answer is durable. */
  readonly after?: () => Promise<void>
}

/** Results of saves name what was asked for. */
const SAVE_TYPES = {
  weights: 'save_weights',
  sampler_weights: 'save_weights_for_sampler',
  external_weights: 'save_weights_external',
} as const

const json = (value: Record<string, unknown>): Reply => ({ type: 'json', value })

export class RunExecutor {
  readonly #parts: ExecutorParts
  constructor(parts: ExecutorParts) {
    this.#parts = parts
  }

  /** All operations of the batch are of one class. Never throws. */
  async carry(batch: readonly RunOperation[]): Promise<void> {
    const [first] = batch
    if (!first) return
    try {
      await this.#parts.journal.start(batch.flatMap((o) => o.id ?? []))
      const engine = this.#parts.engine(first.run.base_model)
      if (first.batchClass === 'train') await this.#train(engine, batch)
      else if (first.batchClass === 'optim') await this.#optim(engine, batch)
      else await this.#single(engine, first)
    } catch (cause) {
      for (const operation of batch) await this.#reject(operation, cause)
    }
  }

  async #train(engine: Engine, batch: readonly RunOperation[]): Promise<void> {
    const open = new Map(batch.map((o) => [o.id, o]))
    const items = batch.map((o) => (o.work as Work<'train'>).item)
    try {
      for await (const outcome of engine.train(items)) {
        const operation = open.get(outcome.operation)
        if (!operation) continue
        open.delete(outcome.operation)
        await this.#settle(operation, outcome, (result) => {
          const { item, matrix } = operation.work as Work<'train'>
          const logprobs = result.logprobs.map((values, i) => ({
            values,
            width: item.datums[i]?.width ?? 1,
            matrix: matrix[i] ?? false,
          }))
          return { type: 'training', value: { logprobs, metrics: { 'loss:sum': result.loss } } }
        })
      }
      if (open.size) throw new Error('the engine ended a batch without all outcomes')
    } catch (cause) {
      for (const operation of open.values()) await this.#reject(operation, cause)
    }
  }

  async #optim(engine: Engine, batch: readonly RunOperation[]): Promise<void> {
    const open = new Map(batch.map((o) => [o.id, o]))
    for (const outcome of await engine.optimStep(batch.map((o) => (o.work as Work<'optim_step'>).step))) {
      const operation = open.get(outcome.operation)
      if (!operation) continue
      await this.#settle(operation, outcome, ({ gradientNorm, step, applied }) =>
        json({ metrics: { grad_norm: gradientNorm, step, applied: applied ? 1 : 0 }, type: 'optim_step' }),
      )
    }
  }

  async #settle<T>(operation: RunOperation, outcome: Outcome<T>, reply: (result: T) => Reply): Promise<void> {
    if (!operation.id) return
    // An outcome's error is plain data: only as the engine's own does it keep its code and category.
    if ('error' in outcome) return this.#parts.futures.reject(operation.id, new EngineError(outcome.error))
    const plan = (outcome.result as { plan?: unknown }).plan
    await this.#parts.futures.resolve(operation.id, reply(outcome.result), plan)
  }

  async #single(engine: Engine, operation: RunOperation): Promise<void> {
    let done: Done
    try {
      const run = this.#singles[operation.work.kind as Single]
      done = await run(engine, operation, operation.work as never)
    } catch (cause) {
      const failedToStart = operation.work.kind === 'create_model'
      await this.#reject(
        operation,
        cause,
        failedToStart ? (trx) => this.#parts.runs.setState(operation.run.id, 'failed', trx) : undefined,
      )
      return
    }
    if (operation.id) await this.#parts.futures.resolve(operation.id, done.reply, undefined, done.also)
    else await done.also?.(this.#parts.db as never)
    await done.after?.()
  }

  async #reject(operation: RunOperation, cause: unknown, also?: Also): Promise<void> {
    // The future's error says that the log has the details.
    if (toServiceError(cause).code === 'INTERNAL') this.#parts.log(cause)
    if (operation.id) await this.#parts.futures.reject(operation.id, cause, also)
  }

  readonly #singles: {
    [K in Single]: (engine: Engine, operation: RunOperation, work: Work<K>) => Promise<Done>
  } = {
    create_model: async (engine, { run }, { from }) => {
      await engine.createAdapter(run.id, loraConfig(run))
      if (from) {
        try {
          await this.#load(engine, run.id, from)
        } catch (cause) {
          await engine.releaseAdapter(run.id)
          throw cause
        }
      }
      const reply = from
        ? json({ path: from.path, model_id: run.id, type: 'load_weights' })
        : json({ model_id: run.id, type: 'create_model' })
      return { reply, also: (trx) => this.#parts.runs.setState(run.id, 'ready', trx) }
    },
    load_weights: async (engine, { run }, { from }) => {
      await this.#load(engine, run.id, from)
      return { reply: json({ path: from.path, model_id: run.id, type: 'load_weights' }) }
    },
    save: async (engine, { run }, { checkpoint }) => {
      const { checkpoints } = this.#parts
      const replaced = await checkpoints.checkFree(run, checkpoint)
      const folder = checkpoints.newFolder(run.id, checkpoint.kind)
      const part = checkpoint.hasOptimizer ? 'weights+optimizer' : 'weights'
      const files = await engine.saveAdapter(run.id, folder.absolute, part)
      const type = SAVE_TYPES[checkpoint.kind]
      return {
        reply: json({ path: tinkerPath({ run: run.id, ...checkpoint }), type }),
        also: (trx) => checkpoints.register(trx, run, checkpoint, folder.relative, files),
        ...(replaced && { after: () => checkpoints.removeFiles(replaced) }),
      }
    },
    save_ephemeral: async (engine, { run }, { samplingSession }) => {
      const folder = this.#parts.checkpoints.newFolder(run.id, 'ephemeral')
      await engine.saveAdapter(run.id, folder.absolute, 'weights')
      return {
        reply: json({ sampling_session_id: samplingSession, type: 'save_weights_for_sampler' }),
        also: (trx) =>
          trx
            .insertInto('sampling_sessions')
            .values({
              id: samplingSession,
              tenant: run.tenant,
              session: run.session,
              base_model: run.base_model,
              model_path: null,
              folder: folder.relative,
              created_at: Date.now(),
            })
            .execute(),
      }
    },
    unload_model: async (engine, { run }) => {
      await engine.releaseAdapter(run.id)
      return {
        reply: json({ model_id: run.id, type: 'unload_model' }),
        also: (trx) => this.#parts.runs.setState(run.id, 'unloaded', trx),
      }
    },
  }

  async #load(
    engine: Engine,
    adapter: string,
    {
      checkpoint,
      path,
      optimizer,
    }: { checkpoint: { folder: string; has_optimizer: number }; path: string; optimizer: boolean },
  ) {
    if (optimizer && !checkpoint.has_optimizer) throw serviceError('NO_OPTIMIZER_STATE', { path })
    const folder = this.#parts.checkpoints.absolute(checkpoint.folder)
    await engine.loadAdapter(adapter, folder, optimizer ? 'weights+optimizer' : 'weights')
  }
}
