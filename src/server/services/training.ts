// Training runs from the outside: submissions are checked and journalled, then carried out by run-lanes.ts; the answer
// comes through the future. Everything that can be refused is refused here, before anything is written.

import type { Transaction } from 'kysely'
import type { ClipSettings, OptimSettings } from '../../backends/backend.ts'
import { checkDatums } from '../../backends/datum-check.ts'
import { supports } from '../../backends/losses.ts'
import { checkClip } from '../../backends/optimizer-check.ts'
import type { TrainingCall } from '../calls.ts'
import { isFinal, serviceError } from '../errors.ts'
import type { Journal } from '../store/journal.ts'
import type { Database, OperationKind } from '../store/schema.ts'
import { encodeTrainingCall } from '../wire/training.ts'
import type { BaseModels } from './base-models.ts'
import { type Checkpoint, type Checkpoints, checkName, checkTtl, type NewCheckpoint } from './checkpoints.ts'
import type { Intake } from './intake.ts'
import { lossOfCall } from './journalled-work.ts'
import { type NewRun, newRun, type ResumedRun, resumedRun } from './new-run.ts'
import type { Quotas } from './quotas.ts'
import type { RunLanes } from './run-lanes.ts'
import type { RunWork } from './run-operation.ts'
import type { Run, Runs } from './runs.ts'
import type { Sessions } from './sessions.ts'

export interface SamplerSave {
  readonly modelId: string
  readonly seqId: number
  /** Exactly one of the two: a named checkpoint, or a sampling session of this number without a name. */
  readonly path?: string
  readonly samplingSessionSeqId?: number
  /** The sampling session goes on to weights of the model that are saved so later. */
  readonly isInflight?: boolean
  readonly ttlSeconds: number | null
  readonly userMetadata: Readonly<Record<string, string>>
}

export interface TrainingParts {
  readonly journal: Journal
  readonly intake: Intake
  readonly quotas: Quotas
  readonly runs: Runs
  readonly sessions: Sessions
  readonly models: BaseModels
  readonly checkpoints: Checkpoints
  readonly lanes: RunLanes
}

export interface Submitted {
  readonly requestId: string
  readonly modelId: string
}

export class Training {
  readonly #parts: TrainingParts
  constructor(parts: TrainingParts) {
    this.#parts = parts
  }

  async createModel(tenant: string, call: NewRun): Promise<Submitted> {
    await this.#parts.sessions.require(tenant, call.sessionId)
    const { info } = this.#parts.models.get(call.baseModel)
    const { modelSeqId: _, ...same } = call
    return this.#submitRun(newRun(tenant, call, info.maxRank), { kind: 'create_model' }, same)
  }

  /**
   * A new run from a checkpoint: rank and switches come from the checkpoint.
   *
   * @param reader as whom the checkpoint may be read: the tenant itself, or who gave it a token
   */
  async resume(tenant: string, call: ResumedRun, reader = tenant): Promise<Submitted> {
    await this.#parts.sessions.require(tenant, call.sessionId)
    const checkpoint = await this.#parts.checkpoints.find(reader, call.path)
    this.#parts.models.get(checkpoint.base_model)
    const from = { checkpoint, path: call.path, optimizer: call.optimizer }
    const { modelSeqId: _, ...same } = call
    return this.#submitRun(resumedRun(tenant, call, checkpoint), { kind: 'create_model', from }, same)
  }

  /** A run whose row is made already, and what `also` writes with it. */
  async createRun(run: Run, also: (trx: Transaction<Database>) => Promise<void>): Promise<Submitted> {
    return this.#submitRun(run, { kind: 'create_model' }, { id: run.id }, also)
  }

  async #submitRun(
    run: Run,
    work: RunWork,
    call: unknown,
    also?: (trx: Transaction<Database>) => Promise<void>,
  ): Promise<Submitted> {
    const payload = jsonBytes({ call, run, ...(work.kind === 'create_model' && { from: work.from }) })
    const { id, isNew } = await this.#parts.intake.append(
      {
        tenant: run.tenant,
        session: run.session,
        subject: run.id,
        kind: 'create_model',
        identity: `model:${run.id}`,
        baseModel: run.base_model,
        payload,
        digest: jsonBytes(call),
      },
      async (trx) => {
        await this.#parts.quotas.checkAdapters(trx, run.tenant)
        await this.#parts.runs.insert(trx, run)
        await also?.(trx)
      },
    )
    if (isNew) await this.#parts.lanes.accept(id, run, work, 0)
    return { requestId: id, modelId: run.id }
  }

  async train(tenant: string, call: TrainingCall): Promise<Submitted> {
    return this.#inOrder(tenant, call.modelId, call.seqId, async (run) => {
      const { info } = this.#parts.models.get(run.base_model)
      const loss = lossOfCall(call)
      // The catalogue's losses are not every engine's.
      if (!supports(info, loss)) {
        const { losses } = info
        throw serviceError('UNSUPPORTED_BY_ENGINE', { loss: loss.name, model: run.base_model, losses })
      }
      checkDatums(call.datums, loss, info)
      const kind = call.forwardOnly ? 'forward' : 'forward_backward'
      return {
        kind,
        payload: encodeTrainingCall(call),
        work: (operation) => ({
          kind: 'train',
          item: { operation, adapter: run.id, backward: !call.forwardOnly, loss, datums: call.datums },
          matrix: call.matrix,
        }),
      }
    })
  }

  async optimStep(tenant: string, modelId: string, seqId: number, step: OptimSettings): Promise<Submitted> {
    return this.#inOrder(tenant, modelId, seqId, async (run) => {
      const { optimizers } = this.#parts.models.get(run.base_model).info
      if (!optimizers.includes(step.rule)) {
        throw serviceError('UNSUPPORTED_RULE', { rule: step.rule, model: run.base_model, rules: optimizers })
      }
      return {
        kind: 'optim_step',
        payload: jsonBytes(step),
        work: (operation) => ({ kind: 'optim_step', step: { ...step, operation, adapter: run.id } }),
      }
    })
  }

  /**
   * Divides the gradient gathered so far and clips it: order matters, as to passes and steps. Native to Twinkle's protocol.
   * The result is `{ applied, grad_norm }`: the norm between the two, 0 where there was no gradient.
   */
  async clipGradients(tenant: string, modelId: string, seqId: number, clip: ClipSettings): Promise<Submitted> {
    return this.#inOrder(tenant, modelId, seqId, async () => {
      checkClip(clip)
      return { kind: 'clip_gradients', payload: jsonBytes(clip), work: () => ({ kind: 'clip_gradients', clip }) }
    })
  }

  /** Drops the gradient gathered so far. */
  async zeroGrad(tenant: string, modelId: string, seqId: number): Promise<Submitted> {
    return this.#inOrder(tenant, modelId, seqId, async () => ({
      kind: 'zero_grad',
      payload: jsonBytes({ modelId }),
      work: () => ({ kind: 'zero_grad' }),
    }))
  }

  async saveWeights(tenant: string, modelId: string, seqId: number, checkpoint: NewCheckpoint): Promise<Submitted> {
    return this.#inOrder(tenant, modelId, seqId, async () => {
      checkName(checkpoint.name)
      checkTtl(checkpoint.ttlSeconds)
      return { kind: 'save_weights', payload: jsonBytes(checkpoint), work: () => ({ kind: 'save', checkpoint }) }
    })
  }

  async saveForSampler(tenant: string, call: SamplerSave): Promise<Submitted> {
    return this.#inOrder(tenant, call.modelId, call.seqId, async (run) => {
      const { path, samplingSessionSeqId: seq, isInflight } = call
      if ((path === undefined) === (seq === undefined)) throw serviceError('NAME_OR_SESSION')
      if (path !== undefined && isInflight) throw serviceError('INFLIGHT_NAME', { name: path })
      if (path !== undefined) checkName(path)
      checkTtl(call.ttlSeconds)
      const work: RunWork =
        path === undefined
          ? {
              kind: 'save_ephemeral',
              samplingSession: `${run.session}:sample:${seq}`,
              ...(isInflight && { isInflight }),
            }
          : {
              kind: 'save',
              checkpoint: {
                kind: 'sampler_weights',
                name: path,
                overwrite: false,
                ttlSeconds: call.ttlSeconds,
                userMetadata: call.userMetadata,
                hasOptimizer: false,
              },
            }
      return { kind: 'save_weights_for_sampler', payload: jsonBytes(work), work: () => work }
    })
  }

  /** Replaces the weights of a live run by those of a checkpoint of the same shape. */
  async loadWeights(
    tenant: string,
    modelId: string,
    seqId: number,
    { path, optimizer, reader = tenant }: { path: string; optimizer: boolean; reader?: string },
  ): Promise<Submitted> {
    return this.#inOrder(tenant, modelId, seqId, async (run) => {
      const checkpoint = await this.#parts.checkpoints.find(reader, path)
      const reason = mismatch(run, checkpoint)
      if (reason) throw serviceError('CHECKPOINT_MISMATCH', { path, reason })
      if (optimizer && !checkpoint.has_optimizer) throw serviceError('NO_OPTIMIZER_STATE', { path })
      const from = { checkpoint, path, optimizer }
      return {
        kind: 'load_weights',
        payload: jsonBytes({ from }),
        digest: jsonBytes({ path, optimizer }),
        work: () => ({ kind: 'load_weights', from }),
      }
    })
  }

  async unload(tenant: string, modelId: string): Promise<Submitted> {
    return this.#inOrder(tenant, modelId, 0, async () => ({
      kind: 'unload_model',
      payload: jsonBytes({ modelId }),
      work: () => ({ kind: 'unload_model' }),
    }))
  }

  /**
   * A request with a number takes that number whatever becomes of it: the SDK never sends a refused number again, so later
   * ones must not wait for it.
   */
  async #inOrder(
    tenant: string,
    modelId: string,
    seqId: number,
    prepare: (run: Run) => Promise<Prepared>,
  ): Promise<Submitted> {
    const run = await this.#parts.runs.require(tenant, modelId)
    try {
      await this.#parts.sessions.require(tenant, run.session)
      const { kind, payload, digest, work } = await prepare(run)
      const { id, isNew } = await this.#parts.intake.append(
        {
          tenant,
          session: run.session,
          subject: run.id,
          kind,
          identity: seqId > 0 ? `run:${run.id}:${seqId}` : null,
          ...(seqId > 0 && { seq: seqId }),
          isOrdered: run.state === 'creating',
          baseModel: run.base_model,
          payload,
          ...(digest && { digest }),
        },
        (trx) => this.#parts.runs.take(trx, run),
      )
      if (isNew) await this.#parts.lanes.accept(id, run, work(id), seqId)
      return { requestId: id, modelId: run.id }
    } catch (cause) {
      if (isFinal(cause)) await this.#skip(run, seqId)
      throw cause
    }
  }

  /** Recorded before the refusal is answered: after a restart, too, nobody waits for this number. */
  async #skip(run: Run, seqId: number): Promise<void> {
    if (seqId > 0) await this.#parts.journal.refuse(run.id, seqId, run.base_model)
    this.#parts.lanes.skip(run, seqId)
  }

  /** Marks the number of a request that could not even be read as done, where its owner and number are known. */
  async refuse(tenant: string, modelId: string, seqId: number): Promise<void> {
    const run = await this.#parts.runs.require(tenant, modelId).catch(() => null)
    if (run) await this.#skip(run, seqId)
  }
}

interface Prepared {
  readonly kind: OperationKind
  readonly payload: Uint8Array
  /** What makes two payloads the same call, where that is not the payload. */
  readonly digest?: Uint8Array
  readonly work: (operation: string) => RunWork
}

function mismatch(run: Run, checkpoint: Checkpoint): string | null {
  for (const key of ['base_model', 'rank', 'train_attention', 'train_mlp', 'train_unembed'] as const) {
    if (run[key] !== checkpoint[key]) return `its ${key} is ${checkpoint[key]}, that of ${run.id} is ${run[key]}`
  }
  return null
}

export function jsonBytes(value: unknown): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(value))
}
