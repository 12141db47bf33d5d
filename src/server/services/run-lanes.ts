// Carries out acknowledged work on training runs: a lane for each base model whose engine this server has. Whoever submits
// hands work over here, or leaves it to the server that has the engine. training.ts knows what may be asked for, lane.ts the
// order, run-executor.ts what is done.

import { serviceError } from '../errors.ts'
import { Allowance } from '../scheduler/allowance.ts'
import type { Journal, OperationRow } from '../store/journal.ts'
import type { Signals } from '../store/signals.ts'
import type { BaseModels } from './base-models.ts'
import { Lane } from './lane.ts'
import { inWords, type QueueLine, type QueueSource, type Standing } from './queue.ts'
import { type ExecutorParts, RunExecutor } from './run-executor.ts'
import { type RunWork, runOperation } from './run-operation.ts'
import { takeUpOne, takeUpRuns } from './run-recovery.ts'
import type { Run } from './runs.ts'
import type { Sessions } from './sessions.ts'
import type { Tenure } from './tenure.ts'

export interface RunLaneParts extends Omit<ExecutorParts, 'tenure' | 'onUnloaded'> {
  readonly journal: Journal
  readonly sessions: Sessions
  readonly models: BaseModels
  readonly signals: Signals
}

interface Open {
  readonly lane: Lane
  readonly tenure: Tenure
}

export class RunLanes implements QueueSource {
  readonly #parts: RunLaneParts
  /** Training tokens a minute, of all base models together. */
  readonly #allowance: Allowance
  /** By base model. */
  readonly #lanes = new Map<string, Open>()

  constructor(parts: RunLaneParts) {
    this.#parts = parts
    this.#allowance = new Allowance((tenant) => parts.limitsOf(tenant).trainingTokensPerMinute)
  }

  get waiting(): number {
    return [...this.#lanes.values()].reduce((sum, { lane }) => sum + lane.waiting, 0)
  }

  /** From now on this server carries out what is done on a base model's runs. */
  begin(baseModel: string, tenure: Tenure): void {
    const executor = new RunExecutor({ ...this.#parts, tenure, onUnloaded: (run) => this.#end(run) })
    const weightOf = (tenant: string) => this.#parts.limitsOf(tenant).weight
    const lane = new Lane(executor, { allowance: this.#allowance, weightOf })
    this.#lanes.set(baseModel, { lane, tenure })
  }

  /** Settles when nothing of the base model is carried out. What waits is left to the journal. The engine is closed. */
  async end(baseModel: string): Promise<void> {
    const lane = this.#lanes.get(baseModel)?.lane
    this.#lanes.delete(baseModel)
    await lane?.stop()
  }

  /**
   * Takes up what this server has acknowledged. What has no number, or is about a run that is not created yet, is taken up
   * when its signal comes: what was acknowledged before, here or by other servers, goes first.
   */
  async accept(id: string, run: Run, work: RunWork, seq: number): Promise<void> {
    const isOrdered = seq === 0 || run.state === 'creating'
    if (!isOrdered || !this.#parts.signals.isShared) await this.take(id, run, work, seq)
  }

  /** Takes up what was acknowledged, unless it has it already or another server has the engine. */
  async take(id: string, run: Run, work: RunWork, seq: number): Promise<void> {
    const { futures } = this.#parts
    const open = this.#lanes.get(run.base_model)
    if (!open || !futures.open(id, open.tenure)) return
    const pushed = open.lane.push(runOperation(id, run, work), seq)
    if (pushed === 'taken') await futures.reject(id, serviceError('SEQ_TAKEN', { seq, id: run.id }))
    else if (pushed === 'ended') await futures.reject(id, gone(run))
  }

  /** A request with this number was refused: later ones need not wait for it. */
  skip(run: Pick<Run, 'id' | 'base_model'>, seq: number): void {
    this.#lanes.get(run.base_model)?.lane.skip(run.id, seq)
  }

  /** Whatever had its turn before the rows that the journal still has. Before anything else is said of the run. */
  beginRun({ id, base_model, used_through }: Run): void {
    if (Number(used_through) > 0) this.#lanes.get(base_model)?.lane.beginRun(id, Number(used_through))
  }

  /** A session is over: its runs give their adapters back, after what was acknowledged has been done. */
  async releaseSession(baseModel: string, session: string): Promise<void> {
    for (const run of await this.#parts.runs.ofSession(session)) {
      if (run.base_model !== baseModel || (run.state !== 'creating' && run.state !== 'ready')) continue
      const lane = this.#lanes.get(baseModel)?.lane
      for (const { id } of lane?.takeEarly(run.id) ?? []) {
        if (id) await this.#parts.futures.reject(id, serviceError('SESSION_OVER', { id: session }))
      }
      this.release(run)
    }
  }

  /** Nobody uses this run any more. */
  release(run: Run): void {
    this.#lanes.get(run.base_model)?.lane.push(runOperation(null, run, { kind: 'unload_model' }), 0)
  }

  async #end(run: Run): Promise<void> {
    for (const { id } of this.#lanes.get(run.base_model)?.lane.end(run.id) ?? []) {
      if (id) await this.#parts.futures.reject(id, gone(run))
    }
  }

  /** Takes up what was acknowledged and not done, for a model whose engine is here. */
  async takeUp(baseModel: string, tenure: Tenure, rows: readonly OperationRow[]): Promise<void> {
    await takeUpRuns({ ...this.#parts, lanes: this }, baseModel, tenure, rows)
  }

  /** The same for one operation that another server has acknowledged. */
  async takeUpOne(tenure: Tenure, row: OperationRow): Promise<void> {
    const run = await this.#parts.runs.find(row.tenant, row.subject ?? '')
    await takeUpOne({ ...this.#parts, lanes: this }, run, tenure, row)
  }

  /** Limits of tenants may have changed. */
  reconsider(): void {
    for (const { lane } of this.#lanes.values()) lane.reconsider()
  }

  standing(requestId: string): Standing | null {
    for (const [baseModel, { lane }] of this.#lanes) {
      const found = lane.standing(requestId)
      if (!found) continue
      const { tenant } = found.operation.run
      return inWords({ requestId, tenant, baseModel, kind: 'training' }, found.standing, {
        isRestarting: this.#parts.models.isRestarting(baseModel),
        rate: lane.rate,
        tokensPerMinute: this.#allowance.rateOf(tenant),
        concurrentSamples: null,
      })
    }
    return null
  }

  lines(): QueueLine[] {
    return [...this.#lanes].map(([baseModel, { lane }]) => {
      const { running, waiting, tenants, rate } = lane
      return { baseModel, kind: 'training', running, waiting, tenants, tokensPerSecond: rate && 1000 * rate }
    })
  }

  *open(): Iterable<string> {
    for (const { lane } of this.#lanes.values()) yield* lane.open
  }

  /** Settles when all that was ready, and within the limits of its tenant, has been carried out. */
  async drain(): Promise<void> {
    await Promise.all([...this.#lanes.values()].map(({ lane }) => lane.idle()))
  }

  /** Nothing more begins: the server closes. */
  stop(): void {
    for (const { lane } of this.#lanes.values()) void lane.stop()
  }
}

export const gone = ({ id }: Pick<Run, 'id'>) =>
  serviceError('MODEL_GONE', { id, reason: 'it was unloaded or its session is over' })
