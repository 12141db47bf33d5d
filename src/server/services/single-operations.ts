// What is done to one run alone: its adapter is made, replaced, saved and given back, its gradient clipped or dropped. Does the engine's part of it, and says
// what is answered and what is written with the answer. Knows engines, files and rows; settles nothing.

import { rm } from 'node:fs/promises'
import type { Kysely } from 'kysely'
import type { AdapterFile, AdapterPart, Engine } from '../../backends/backend.ts'
import type { Reply } from '../calls.ts'
import { serviceError } from '../errors.ts'
import type { Database } from '../store/schema.ts'
import { type Checkpoints, tinkerPath } from './checkpoints.ts'
import type { Futures } from './futures.ts'
import { clipped, type LiveAdapters } from './live-adapters.ts'
import type { Quotas } from './quotas.ts'
import type { RestartPoints, Transact } from './restart-points.ts'
import type { RunOperation, RunWork } from './run-operation.ts'
import type { Run, Runs } from './runs.ts'
import { writeUsage } from './usage.ts'

export interface SingleOperationParts {
  readonly db: Kysely<Database>
  readonly runs: Runs
  readonly checkpoints: Checkpoints
  readonly adapters: LiveAdapters
  readonly restartPoints: RestartPoints
  readonly quotas: Quotas
  /** Told when a run takes no more operations. */
  readonly onUnloaded: (run: Run) => Promise<void>
}

/** What to answer, and what to write in the same transaction. */
export interface Done {
  readonly reply: Reply
  readonly also?: Parameters<Futures['resolve']>[3]
  /** Run once the answer is durable. */
  readonly after?: () => Promise<void>
}

type Work<K extends RunWork['kind']> = Extract<RunWork, { kind: K }>
type Single = Exclude<RunWork['kind'], 'train' | 'optim_step'>

/** Results of saves name what was asked for. */
const SAVE_TYPES = {
  weights: 'save_weights',
  sampler_weights: 'save_weights_for_sampler',
  external_weights: 'save_weights_external',
} as const

export class SingleOperations {
  readonly #parts: SingleOperationParts
  /** For what is written beside the end of an operation. */
  readonly #fenced: Transact
  constructor(parts: SingleOperationParts, fenced: Transact) {
    this.#parts = parts
    this.#fenced = fenced
  }

  /** Its work is of a single kind. Throws what the answer is then. */
  carry(engine: Engine, operation: RunOperation): Promise<Done> {
    const work = this.#singles[operation.work.kind as Single]
    return work(engine, operation, operation.work as never)
  }

  /** Files of a run that its tenant has room for; those that are too large are removed again. Throws STORAGE_FULL. */
  async #saved(engine: Engine, { id, tenant }: Run, folder: string, part: AdapterPart, replacedBytes = 0) {
    const { quotas } = this.#parts
    await quotas.checkStorage(tenant, 1, replacedBytes)
    const files = await engine.saveAdapter(id, folder, part)
    await quotas.checkStorage(tenant, bytesOf(files), replacedBytes).catch(async (cause) => {
      await rm(folder, { recursive: true, force: true })
      throw cause
    })
    return files
  }

  readonly #singles: {
    [K in Single]: (engine: Engine, operation: RunOperation, work: Work<K>) => Promise<Done>
  } = {
    create_model: async (engine, { id, run }, { from }) => {
      await this.#parts.adapters.create(engine, run, this.#fenced, from)
      const reply = from
        ? json({ path: from.path, model_id: run.id, type: 'load_weights' })
        : json({ model_id: run.id, type: 'create_model' })
      // A checkpoint may be deleted or replaced later: what was made of it must not depend on it.
      const point = from && id ? await this.#parts.restartPoints.write(engine, run.id, id) : null
      return {
        reply,
        also: async (trx) => {
          await this.#parts.runs.setReady(run.id, trx)
          await point?.record(trx)
        },
      }
    },
    load_weights: async (engine, { id, run }, { from }) => {
      await this.#parts.adapters.load(engine, run.id, from)
      const point = id ? await this.#parts.restartPoints.write(engine, run.id, id) : null
      return {
        reply: json({ path: from.path, model_id: run.id, type: 'load_weights' }),
        also: async (trx) => point?.record(trx),
        after: async () => {
          this.#parts.adapters.noteRestartPoint(engine, run.id)
          await point?.removeOlder()
        },
      }
    },
    clip_gradients: async (engine, { id, run }, { clip }) => {
      const { applied, gradientNorm } = await clipped(engine, run.id, clip)
      this.#parts.adapters.noteChange(engine, run.id, id, applied)
      return { reply: json({ applied, grad_norm: gradientNorm, type: 'clip_gradients' }) }
    },
    zero_grad: async (engine, { id, run }) => {
      await engine.discardGradients(run.id)
      this.#parts.adapters.noteChange(engine, run.id, id, false)
      return { reply: json({ type: 'zero_grad' }) }
    },
    save: async (engine, { run }, { checkpoint }) => {
      const { checkpoints } = this.#parts
      const replaced = await checkpoints.checkFree(run, checkpoint)
      const folder = checkpoints.newFolder(run.id, checkpoint.kind)
      const part = checkpoint.hasOptimizer ? 'weights+optimizer' : 'weights'
      const files = await this.#saved(engine, run, folder.absolute, part, replaced?.bytes)
      const type = SAVE_TYPES[checkpoint.kind]
      return {
        reply: json({ path: tinkerPath({ run: run.id, ...checkpoint }), type }),
        also: async (trx) => {
          await checkpoints.register(trx, run, checkpoint, folder.relative, files)
          await writeUsage(trx, { ...usedBy(run), kind: 'checkpoint', tokens: 1 })
        },
        ...(replaced && { after: () => checkpoints.removeUnused(replaced.folder) }),
      }
    },
    save_ephemeral: async (engine, { run }, { samplingSession, isInflight }) => {
      const { db } = this.#parts
      const taken = await db.selectFrom('sampling_sessions').select('id').where('id', '=', samplingSession).execute()
      if (taken.length) throw serviceError('SEQ_CONFLICT', { identity: samplingSession })
      const folder = this.#parts.checkpoints.newFolder(run.id, 'ephemeral')
      const files = await this.#saved(engine, run, folder.absolute, 'weights')
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
              inflight_run: isInflight ? run.id : null,
              bytes: bytesOf(files),
            })
            .execute(),
      }
    },
    unload_model: async (engine, { run }) => {
      const { adapters, runs, restartPoints } = this.#parts
      await adapters.release(engine, run.id)
      return {
        reply: json({ model_id: run.id, type: 'unload_model' }),
        also: (trx) => runs.setState(run.id, 'unloaded', trx),
        after: async () => {
          await this.#parts.onUnloaded(run)
          await restartPoints.forget(run.id)
        },
      }
    },
  }
}

export const json = (value: Record<string, unknown>): Reply => ({ type: 'json', value })

/** Whose usage a run is. */
export function usedBy({ tenant, session, base_model: baseModel }: Run) {
  return { tenant, session, baseModel }
}

const bytesOf = (files: readonly AdapterFile[]) => files.reduce((sum, { bytes }) => sum + bytes, 0)
