// Sampling sessions and samples. A sampling session draws from weights that were frozen when it was made: a checkpoint's or
// an ephemeral save's files, loaded into the engine on first use and shared by content.

import type { Kysely, Selectable } from 'kysely'
import type { Engine, GenerationRequest, SnapshotId } from '../../backends/backend.ts'
import { checkGeneration } from '../../backends/transformers/generation-check.ts'
import type { SampleCall } from '../calls.ts'
import { serviceError } from '../errors.ts'
import { TurnTaking } from '../scheduler/turn-taking.ts'
import type { Journal, OperationRow } from '../store/journal.ts'
import type { Database, SamplingSessionTable } from '../store/schema.ts'
import { decodeSampleCall, encodeSampleCall } from '../wire/sample.ts'
import type { BaseModels } from './base-models.ts'
import { type Checkpoints, unreadable } from './checkpoints.ts'
import { isEngineClosed, type Survival } from './engine-loss.ts'
import type { Futures } from './futures.ts'
import { collect, generationRequest } from './generation.ts'
import type { Sessions } from './sessions.ts'
import { Snapshots } from './snapshots.ts'
import { writeUsage } from './usage.ts'

export type SamplingSession = Selectable<SamplingSessionTable>
/** What a request draws from. */
type Source = Pick<SamplingSession, 'base_model' | 'folder'>
/** Whose tokens they are. */
type Payer = Pick<OperationRow, 'tenant' | 'session'>

export interface SamplingParts {
  readonly db: Kysely<Database>
  readonly journal: Journal
  readonly futures: Futures
  readonly sessions: Sessions
  readonly models: BaseModels
  readonly checkpoints: Checkpoints
  readonly survival: Survival
  readonly log: (cause: unknown, id: string | null) => void
}

/** An acknowledged request on its way to the engine. */
interface Draw {
  readonly id: string
  readonly payer: Payer
  readonly source: Source
  readonly call: SampleCall
  readonly request: GenerationRequest
}

/** Sequences that are in the engines at once: enough for a full batch there and the next ones to fill it up. */
const SEQUENCES = 96

export class Sampling {
  readonly #parts: SamplingParts
  readonly #snapshots: Snapshots
  /** Acknowledged and not in an engine yet: tenants take turns. */
  readonly #waiting = new TurnTaking<Draw>()
  readonly #running = new Set<Promise<void>>()
  #sequences = 0
  /** By request id. */
  readonly #cancels = new Map<string, AbortController>()

  constructor(parts: SamplingParts) {
    this.#parts = parts
    const log = (cause: unknown) => parts.log(cause, null)
    this.#snapshots = new Snapshots(log)
    parts.sessions.onEnd((session) => void this.#release(session).catch(log))
  }

  get running(): number {
    return this.#running.size
  }
  get waiting(): number {
    return this.#waiting.size
  }

  /** Repeating a session's sequence number gives the same sampling session. */
  async open(
    tenant: string,
    call: { sessionId: string; seqId: number; baseModel?: string; modelPath?: string },
  ): Promise<string> {
    await this.#parts.sessions.require(tenant, call.sessionId)
    const source = await this.#source(tenant, call.baseModel, call.modelPath)
    const id = `${call.sessionId}:sample:${call.seqId}`
    const row: SamplingSession = {
      id,
      tenant,
      session: call.sessionId,
      ...source,
      model_path: call.modelPath ?? null,
      created_at: Date.now(),
      copies: 0,
    }
    await this.#parts.db
      .insertInto('sampling_sessions')
      .values(row)
      .onConflict((conflict) => conflict.column('id').doNothing())
      .execute()
    const known = await this.find(tenant, id)
    if (known.base_model !== row.base_model || known.model_path !== row.model_path) {
      throw serviceError('SEQ_CONFLICT', { identity: id })
    }
    return id
  }

  /**
   * A number for one more client of a sampling session, from 1: the first client is 0. Throws UNKNOWN_SAMPLER and
   * SESSION_OVER.
   */
  async join(tenant: string, id: string): Promise<number> {
    const { session } = await this.find(tenant, id)
    await this.#parts.sessions.require(tenant, session)
    const { copies } = await this.#parts.db
      .updateTable('sampling_sessions')
      .set(({ eb }) => ({ copies: eb('copies', '+', 1) }))
      .where('id', '=', id)
      .returning('copies')
      .executeTakeFirstOrThrow()
    return copies
  }

  /** Throws UNKNOWN_SAMPLER. */
  async find(tenant: string, id: string): Promise<SamplingSession> {
    const row = await this.#parts.db
      .selectFrom('sampling_sessions')
      .selectAll()
      .where('id', '=', id)
      .where('tenant', '=', tenant)
      .executeTakeFirst()
    if (!row) throw serviceError('UNKNOWN_SAMPLER', { id })
    return row
  }

  async #source(tenant: string, baseModel?: string, modelPath?: string): Promise<Source> {
    if (modelPath !== undefined) {
      const checkpoint = await this.#parts.checkpoints.find(tenant, modelPath)
      if (baseModel !== undefined && baseModel !== checkpoint.base_model) {
        throw serviceError('CHECKPOINT_MISMATCH', {
          path: modelPath,
          reason: `it belongs to base model ${checkpoint.base_model}, not ${baseModel}`,
        })
      }
      this.#parts.models.get(checkpoint.base_model)
      return { base_model: checkpoint.base_model, folder: checkpoint.folder }
    }
    if (baseModel === undefined) throw serviceError('NOTHING_TO_SAMPLE')
    this.#parts.models.get(baseModel)
    return { base_model: baseModel, folder: null }
  }

  async sample(tenant: string, call: SampleCall): Promise<{ requestId: string; sequenceIds: string[] }> {
    const session = call.samplingSessionId === undefined ? null : await this.find(tenant, call.samplingSessionId)
    if (session) await this.#parts.sessions.require(tenant, session.session)
    const source = session ?? (await this.#source(tenant, call.baseModel, call.modelPath))
    const { info } = this.#parts.models.get(source.base_model).engine
    const request = generationRequest(call, info)
    checkGeneration(request, info)
    const identity = session && call.seqId !== undefined ? `sample:${session.id}:${call.seqId}` : null
    const { id, isNew } = await this.#parts.journal.append({
      tenant,
      session: session?.session ?? null,
      subject: session?.id ?? null,
      kind: 'sample',
      identity,
      payload: encodeSampleCall({ ...call, seed: request.seed }),
      digest: encodeSampleCall(call),
    })
    if (isNew) {
      this.#parts.futures.open(id)
      const payer = { tenant, session: session?.session ?? null }
      this.#admit({ id, payer, source, call, request: { ...request, operation: id } })
      this.#dispatch()
    }
    const prefix = session && call.seqId !== undefined ? `${session.id}:${call.seqId}` : id
    return { requestId: id, sequenceIds: Array.from({ length: call.samples }, (_, i) => `${prefix}:${i}`) }
  }

  #admit(draw: Draw): void {
    this.#cancels.set(draw.id, new AbortController())
    this.#waiting.push(draw.payer.tenant, draw)
  }

  /**
   * Nobody wants this sample any more: its row in the engine is free at once, and its future fails. What is not a sample,
   * or has ended, stays as it is. Throws UNKNOWN_FUTURE.
   */
  async cancel(tenant: string, id: string): Promise<void> {
    if (!(await this.#parts.journal.find(tenant, id))) throw serviceError('UNKNOWN_FUTURE', { id })
    this.#cancels.get(id)?.abort()
  }

  /** Gives the engines as much as they work on at once; the rest waits here, where tenants take turns. */
  #dispatch(): void {
    while (this.#sequences < SEQUENCES) {
      const draw = this.#waiting.next()
      if (!draw) return
      const cost = Math.max(1, draw.request.samples)
      this.#sequences += cost
      const run = this.#run(draw).finally(() => {
        this.#running.delete(run)
        this.#cancels.delete(draw.id)
        this.#sequences -= cost
        this.#dispatch()
      })
      this.#running.add(run)
    }
  }

  /** Never throws. */
  async #run({ id, payer, source, call, request }: Draw): Promise<void> {
    const signal = this.#cancels.get(id)?.signal
    try {
      signal?.throwIfAborted()
      await this.#parts.journal.start([id])
      const value = await this.#parts.survival.carry(source.base_model, (engine) => {
        const draw = (snapshot: SnapshotId | null) => collect(engine, { ...request, snapshot }, call, signal)
        return source.folder === null ? draw(null) : this.#frozen(engine, source.folder, draw)
      })
      await this.#parts.futures.resolve(id, { type: 'sample', value }, undefined, async (trx) => {
        const used = { ...payer, baseModel: source.base_model }
        const drawn = value.sequences.reduce((sum, sequence) => sum + sequence.tokens.length, 0)
        await writeUsage(trx, { ...used, kind: 'sampling_prefill', tokens: request.prompt.length })
        await writeUsage(trx, { ...used, kind: 'sampling_sample', tokens: drawn })
      })
    } catch (thrown) {
      const cause = signal?.aborted ? serviceError('CANCELLED', { what: 'The sample' }) : thrown
      // What a closing server has not done is done at its next start.
      if (isEngineClosed(cause)) return
      await this.#parts.futures.reject(id, unreadable(cause, call.modelPath ?? call.samplingSessionId ?? ''))
    }
  }

  #frozen<T>(engine: Engine, folder: string, work: (id: SnapshotId) => Promise<T>): Promise<T> {
    return this.#snapshots.use(engine, this.#parts.checkpoints.absolute(folder), work)
  }

  /** What only a session that is over has sampled from, and no checkpoint names, is removed. */
  async #release(session: string): Promise<void> {
    const rows = await this.#parts.db
      .selectFrom('sampling_sessions')
      .select('folder')
      .distinct()
      .where('session', '=', session)
      .where('folder', 'is not', null)
      .execute()
    for (const { folder } of rows) await this.#parts.checkpoints.removeUnused(folder as string)
  }

  /** Takes up what an earlier run of this server had acknowledged and not done: the same seeds, so the same tokens. */
  async recover(unfinished: readonly OperationRow[]): Promise<void> {
    const { journal, futures, models } = this.#parts
    for (const row of unfinished) {
      futures.open(row.id)
      try {
        const call = decodeSampleCall(await journal.payloadOf(row))
        const source =
          row.subject === null
            ? await this.#source(row.tenant, call.baseModel, call.modelPath)
            : await this.find(row.tenant, row.subject)
        // A model that is left out today may be served again tomorrow.
        if (!models.has(source.base_model)) continue
        const request = generationRequest(call, models.get(source.base_model).engine.info)
        const payer = { tenant: row.tenant, session: row.session }
        this.#admit({ id: row.id, payer, source, call, request: { ...request, operation: row.id } })
      } catch (cause) {
        await futures.reject(row.id, cause)
      }
    }
    this.#dispatch()
  }

  /** Settles when nothing waits or runs. */
  async drain(): Promise<void> {
    while (this.#running.size) await Promise.all(this.#running)
  }
}
