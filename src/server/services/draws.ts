// Carries out acknowledged samples of the base models whose engine this server has: tenants take turns before the engines,
// results are written down, then whoever waits is woken. Knows engines and frozen weights; sampling.ts knows what may be
// asked for.

import type { Engine, GenerationRequest, SnapshotId } from '../../backends/backend.ts'
import type { SampleCall } from '../calls.ts'
import { serviceError } from '../errors.ts'
import { TurnTaking } from '../scheduler/turn-taking.ts'
import type { Journal, OperationRow } from '../store/journal.ts'
import { type Checkpoints, unreadable } from './checkpoints.ts'
import { type Survival, staysInJournal } from './engine-loss.ts'
import type { Futures } from './futures.ts'
import { collect } from './generation.ts'
import { Snapshots } from './snapshots.ts'
import type { Tenure } from './tenure.ts'
import { writeUsage } from './usage.ts'

/** Whose tokens they are. */
export type Payer = Pick<OperationRow, 'tenant' | 'session'>

/** An acknowledged request on its way to the engine. */
export interface Draw {
  readonly id: string
  readonly payer: Payer
  readonly baseModel: string
  /** Frozen weights below the state directory; null draws from the base model. */
  readonly folder: string | null
  readonly call: SampleCall
  readonly request: GenerationRequest
}

export interface DrawParts {
  readonly journal: Journal
  readonly futures: Futures
  readonly checkpoints: Checkpoints
  readonly survival: Survival
  readonly log: (cause: unknown, id: string | null) => void
}

/** Sequences that are in the engines at once: enough for a full batch there and the next ones to fill it up. */
const SEQUENCES = 96

export class Draws {
  readonly #parts: DrawParts
  readonly #snapshots: Snapshots
  /** By base model: those whose engine this server has. */
  readonly #tenures = new Map<string, Tenure>()
  /** Acknowledged and not in an engine yet: tenants take turns. */
  readonly #waiting = new TurnTaking<Draw & { readonly tenure: Tenure }>()
  readonly #running = new Map<Promise<void>, Tenure>()
  #sequences = 0
  /** By request id. */
  readonly #cancels = new Map<string, AbortController>()

  constructor(parts: DrawParts) {
    this.#parts = parts
    this.#snapshots = new Snapshots((cause) => parts.log(cause, null))
  }

  get running(): number {
    return this.#running.size
  }
  get waiting(): number {
    return this.#waiting.size
  }

  /** From now on this server carries out what is drawn from a base model. */
  begin(baseModel: string, tenure: Tenure): void {
    this.#tenures.set(baseModel, tenure)
  }

  /** Settles when nothing of the base model runs. What waits is left to the journal. The engine is closed. */
  async end(baseModel: string): Promise<void> {
    const over = this.#tenures.get(baseModel)
    this.#tenures.delete(baseModel)
    await Promise.all([...this.#running].flatMap(([run, tenure]) => (tenure === over ? [run] : [])))
  }

  /** Takes up what has been acknowledged, unless it has it already or another server has the engine. */
  take(draw: Draw): void {
    const tenure = this.#tenures.get(draw.baseModel)
    if (!tenure || !this.#parts.futures.open(draw.id, tenure)) return
    this.#cancels.set(draw.id, new AbortController())
    this.#waiting.push(draw.payer.tenant, { ...draw, tenure })
    this.#dispatch()
  }

  /** Its row in the engine is free at once, and its future fails. What is not here, or has ended, stays as it is. */
  cancel(id: string): void {
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
      this.#running.set(run, draw.tenure)
    }
  }

  /** Never throws. */
  async #run({ id, payer, baseModel, folder, call, request, tenure }: Draw & { tenure: Tenure }): Promise<void> {
    if (tenure.isOver) return
    const signal = this.#cancels.get(id)?.signal
    try {
      signal?.throwIfAborted()
      const [started] = await this.#parts.journal.start([id], tenure)
      if (!started) return this.#parts.futures.drop(id)
      const value = await this.#parts.survival.carry(baseModel, (engine) => {
        const scope = { prefixScope: payer.tenant }
        const draw = (snapshot: SnapshotId | null) => collect(engine, { ...request, ...scope, snapshot }, call, signal)
        return folder === null ? draw(null) : this.#frozen(engine, folder, draw)
      })
      await this.#parts.futures.resolve(id, { type: 'sample', value }, undefined, async (trx) => {
        const used = { ...payer, baseModel }
        const drawn = value.sequences.reduce((sum, sequence) => sum + sequence.tokens.length, 0)
        const cached = value.promptCacheHitTokens
        await writeUsage(trx, { ...used, kind: 'sampling_prefill', tokens: request.prompt.length - cached })
        await writeUsage(trx, { ...used, kind: 'sampling_prefill_cached', tokens: cached })
        await writeUsage(trx, { ...used, kind: 'sampling_sample', tokens: drawn })
      })
    } catch (thrown) {
      const cause = signal?.aborted ? serviceError('CANCELLED', { what: 'The sample' }) : thrown
      if (staysInJournal(cause)) return
      await this.#parts.futures.reject(id, unreadable(cause, call.modelPath ?? call.samplingSessionId ?? ''))
    }
  }

  #frozen<T>(engine: Engine, folder: string, work: (id: SnapshotId) => Promise<T>): Promise<T> {
    return this.#snapshots.use(engine, this.#parts.checkpoints.absolute(folder), work)
  }

  /** Settles when nothing waits or runs. */
  async drain(): Promise<void> {
    while (this.#running.size) await Promise.all(this.#running.keys())
  }
}
