// Sampling sessions and samples from the outside: submissions are checked and journalled, then carried out by draws.ts. A
// sampling session draws from weights that were frozen when it was made: a checkpoint's or an ephemeral save's files.

import type { Kysely, Selectable } from 'kysely'
import type { GenerationRequest } from '../../backends/backend.ts'
import { checkGeneration } from '../../backends/transformers/generation-check.ts'
import type { SampleCall } from '../calls.ts'
import { serviceError } from '../errors.ts'
import type { Journal, OperationRow } from '../store/journal.ts'
import type { Database, SamplingSessionTable } from '../store/schema.ts'
import type { Signals } from '../store/signals.ts'
import { decodeSampleCall, encodeSampleCall } from '../wire/sample.ts'
import type { BaseModels } from './base-models.ts'
import type { Checkpoints } from './checkpoints.ts'
import type { Draw, Draws, Payer } from './draws.ts'
import type { Futures } from './futures.ts'
import { generationRequest, type NewTokens } from './generation.ts'
import type { Intake } from './intake.ts'
import { isDatabaseTrouble } from './patience.ts'
import type { Sessions } from './sessions.ts'
import type { Tenure } from './tenure.ts'

export type SamplingSession = Selectable<SamplingSessionTable>
/** What a request draws from. */
type Source = Pick<SamplingSession, 'base_model' | 'folder'>
export interface SamplingParts {
  readonly db: Kysely<Database>
  readonly journal: Journal
  readonly intake: Intake
  readonly futures: Futures
  readonly signals: Signals
  readonly sessions: Sessions
  readonly models: BaseModels
  readonly checkpoints: Checkpoints
  readonly draws: Draws
  readonly log: (cause: unknown, id: string | null) => void
}

export class Sampling {
  readonly #parts: SamplingParts

  constructor(parts: SamplingParts) {
    this.#parts = parts
    parts.sessions.onEnd((session) => void this.#release(session).catch((cause) => parts.log(cause, null)))
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
      inflight_run: null,
      bytes: 0,
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

  /** Its own; in flight, the newest of its run that were saved so. What runs already goes on with what it has. */
  async #weightsOf(session: SamplingSession): Promise<Source> {
    if (session.inflight_run === null) return session
    return this.#parts.db
      .selectFrom('sampling_sessions')
      .select(['base_model', 'folder'])
      .where('inflight_run', '=', session.inflight_run)
      .orderBy('created_at', 'desc')
      .orderBy('id', 'desc')
      .limit(1)
      .executeTakeFirstOrThrow()
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

  /** `onTokens` is told of tokens as they are drawn, where that is known here before the end (see Draw). */
  async sample(
    tenant: string,
    call: SampleCall,
    onTokens?: (tokens: NewTokens) => void,
  ): Promise<{ requestId: string; sequenceIds: string[] }> {
    const session = call.samplingSessionId === undefined ? null : await this.find(tenant, call.samplingSessionId)
    if (session) await this.#parts.sessions.require(tenant, session.session)
    const source = session ? await this.#weightsOf(session) : await this.#source(tenant, call.baseModel, call.modelPath)
    const { info } = this.#parts.models.get(source.base_model)
    const request = generationRequest(call, info)
    checkGeneration(request, info)
    const identity = session && call.seqId !== undefined ? `sample:${session.id}:${call.seqId}` : null
    const { id, isNew } = await this.#parts.intake.append({
      tenant,
      session: session?.session ?? null,
      subject: session?.id ?? null,
      kind: 'sample',
      identity,
      baseModel: source.base_model,
      payload: encodeSampleCall({ ...call, seed: request.seed }),
      digest: encodeSampleCall(call),
    })
    if (isNew) {
      const draw = drawOf(id, { tenant, session: session?.session ?? null }, source, call, request)
      this.#parts.draws.take(onTokens ? { ...draw, onTokens } : draw)
    }
    const prefix = session && call.seqId !== undefined ? `${session.id}:${call.seqId}` : id
    return { requestId: id, sequenceIds: Array.from({ length: call.samples }, (_, i) => `${prefix}:${i}`) }
  }

  /**
   * Nobody wants this sample any more: its row in the engine is free at once, and its future fails. What is not a sample,
   * or has ended, stays as it is. Throws UNKNOWN_FUTURE.
   */
  async cancel(tenant: string, id: string): Promise<void> {
    if (!(await this.#parts.journal.find(tenant, id))) throw serviceError('UNKNOWN_FUTURE', { id })
    this.#parts.draws.cancel(id)
    await this.#parts.journal.cancel(id)
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

  /**
   * Takes up what was acknowledged and not done, for a model whose engine is here: the same seeds, so the same tokens. What
   * somebody waited for on a connection that this server no longer has is dropped; servers that share a database cannot know.
   * Throws what the database throws.
   */
  async takeUp(baseModel: string, tenure: Tenure, rows: readonly OperationRow[]): Promise<void> {
    const { journal, futures, models, draws, signals } = this.#parts
    const { info } = models.get(baseModel)
    for (const row of rows) {
      try {
        const call = decodeSampleCall(await journal.payloadOf(row))
        const source =
          row.subject === null
            ? await this.#source(row.tenant, call.baseModel, call.modelPath)
            : await this.#weightsOf(await this.find(row.tenant, row.subject))
        if (source.base_model !== baseModel) continue
        if (call.isHeld && !signals.isShared) throw serviceError('CANCELLED', { what: 'The sample' })
        draws.take(drawOf(row.id, row, source, call, generationRequest(call, info)))
      } catch (cause) {
        if (isDatabaseTrouble(cause)) throw cause
        if (futures.open(row.id, tenure)) await futures.reject(row.id, cause)
      }
    }
  }
}

function drawOf(
  id: string,
  { tenant, session }: Payer,
  { base_model: baseModel, folder }: Source,
  call: SampleCall,
  request: GenerationRequest,
): Draw {
  return { id, payer: { tenant, session }, baseModel, folder, call, request: { ...request, operation: id } }
}
