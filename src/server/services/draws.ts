// Carries out acknowledged samples of the base models whose engine this server has: a queue before each engine says what may
// begin, results are written down, then whoever waits is woken. Knows engines and frozen weights; sampling.ts knows what
// may be asked for, scheduler/draw-queue.ts whose turn it is.

import type { Engine, GenerationRequest, SnapshotId } from '../../backends/backend.ts'
import type { SampleCall } from '../calls.ts'
import { serviceError } from '../errors.ts'
import { Allowance } from '../scheduler/allowance.ts'
import { type Drawable, DrawQueue, type DrawRules } from '../scheduler/draw-queue.ts'
import { Meter } from '../scheduler/meter.ts'
import type { OperationRow } from '../store/journal.ts'
import type { BaseModels } from './base-models.ts'
import { type Checkpoints, isUnreadable, unreadable } from './checkpoints.ts'
import { type Survival, staysInJournal } from './engine-loss.ts'
import type { Futures } from './futures.ts'
import { collect, type NewTokens } from './generation.ts'
import type { LimitsOf } from './limits.ts'
import type { Onlookers } from './onlookers.ts'
import { inWords, type QueueLine, type QueueSource, type Standing } from './queue.ts'
import { Snapshots } from './snapshots.ts'
import type { Tenure } from './tenure.ts'
import { type Usage, writeUsage } from './usage.ts'

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
  /** Told of tokens as they are drawn, where the engine is in this server; after the loss of an engine from the start again. */
  readonly onTokens?: (tokens: NewTokens) => void
}

/** Timers cannot be set for longer than about 24 days. */
const LONGEST_TIMER_MS = 600_000

export interface DrawParts {
  readonly futures: Futures
  readonly checkpoints: Checkpoints
  readonly survival: Survival
  readonly models: BaseModels
  readonly limitsOf: LimitsOf
  readonly onlookers: Onlookers
  readonly log: (cause: unknown, id: string | null) => void
}

/** The samples of one base model whose engine this server has. */
interface Open {
  readonly tenure: Tenure
  readonly queue: DrawQueue<Job>
  readonly meter: Meter
  readonly running: Set<Promise<void>>
}

interface Job extends Drawable {
  readonly draw: Draw
  readonly open: Open
  readonly cancel: AbortController
}

export class Draws implements QueueSource {
  readonly #parts: DrawParts
  readonly #rules: DrawRules
  readonly #snapshots: Snapshots
  /** By base model. */
  readonly #open = new Map<string, Open>()
  /** By request id, those that have not ended. */
  readonly #jobs = new Map<string, Job>()
  #timer: NodeJS.Timeout | undefined
  #isStopped = false

  constructor(parts: DrawParts) {
    this.#parts = parts
    this.#rules = rulesOf(parts.limitsOf)
    this.#snapshots = new Snapshots((cause) => parts.log(cause, null))
  }

  get running(): number {
    return [...this.#open.values()].reduce((sum, { running }) => sum + running.size, 0)
  }
  get waiting(): number {
    return this.#jobs.size - this.running
  }

  /** From now on this server carries out what is drawn from a base model. */
  begin(baseModel: string, tenure: Tenure): void {
    const queue = new DrawQueue<Job>(this.#rules)
    this.#open.set(baseModel, { tenure, queue, meter: new Meter(), running: new Set() })
  }

  /** Settles when nothing of the base model runs. What waits is left to the journal. The engine is closed. */
  async end(baseModel: string): Promise<void> {
    const over = this.#open.get(baseModel)
    this.#open.delete(baseModel)
    await Promise.all(over?.running ?? [])
    for (const [id, { open }] of this.#jobs) if (open === over) this.#jobs.delete(id)
  }

  /** Takes up what has been acknowledged, unless it has it already or another server has the engine. */
  take(draw: Draw): void {
    const { id, baseModel, request, payer } = draw
    const open = this.#open.get(baseModel)
    if (!open || !this.#parts.futures.open(id, open.tenure)) return
    const { samples: sequences, prompt, maxTokens } = request
    const most = prompt.length + sequences * maxTokens
    const job = { draw, open, cancel: new AbortController(), tenant: payer.tenant, sequences, most }
    this.#jobs.set(id, job)
    open.queue.push(job)
    this.#dispatch()
  }

  /** Its row in the engine is free at once, and its future fails. What is not here, or has ended, stays as it is. */
  cancel(id: string): void {
    const job = this.#jobs.get(id)
    if (!job || job.cancel.signal.aborted) return
    job.cancel.abort()
    if (job.open.queue.remove(job)) this.#start(job)
  }

  /** Limits of tenants may have changed. */
  reconsider(): void {
    for (const { queue } of this.#open.values()) queue.reconsider()
    this.#dispatch()
  }

  /** Gives the engines as much as they work on at once; the rest waits here. */
  #dispatch(): void {
    if (this.#isStopped) return
    clearTimeout(this.#timer)
    const now = performance.now()
    for (const { queue } of this.#open.values()) {
      for (const job of queue.next(now)) this.#start(job, (used) => this.#done(job, used))
    }
    const times = [...this.#open.values()].flatMap(({ queue }) => queue.nextTime ?? [])
    if (!times.length) return
    const ms = Math.min(Math.max(0, Math.min(...times) - now), LONGEST_TIMER_MS)
    this.#timer = setTimeout(() => this.#dispatch(), ms).unref()
  }

  #start(job: Job, done: (used: number) => void = () => {}): void {
    const { running, meter } = job.open
    meter.begin(performance.now())
    const run = this.#run(job).then((used) => {
      running.delete(run)
      this.#jobs.delete(job.draw.id)
      meter.end(used, performance.now())
      done(used)
    })
    running.add(run)
  }

  #done(job: Job, used: number): void {
    job.open.queue.done(job, used, performance.now())
    for (const { queue } of this.#open.values()) queue.freed(job.tenant)
    this.#dispatch()
  }

  /** Gives the tokens that it took of the engine. Never throws. */
  async #run({ draw, open: { tenure }, cancel: { signal } }: Job): Promise<number> {
    const { id, payer, baseModel, folder, call, request, onTokens } = draw
    if (tenure.isOver) return 0
    try {
      signal.throwIfAborted()
      const [started] = await this.#parts.futures.start([id], tenure)
      if (!started) {
        this.#parts.futures.drop(id)
        return 0
      }
      const value = await this.#parts.survival.carry(baseModel, (engine) => {
        const asked = { ...request, prefixScope: payer.tenant, ...(onTokens && { stream: true }) }
        const draw = (snapshot: SnapshotId | null) => collect(engine, { ...asked, snapshot }, call, signal, onTokens)
        return folder === null ? draw(null) : this.#frozen(engine, folder, draw)
      })
      const drawn = value.sequences.reduce((sum, sequence) => sum + sequence.tokens.length, 0)
      const used = tokensOf(payer, baseModel, request.prompt.length, value.promptCacheHitTokens, drawn)
      await this.#parts.futures.resolve(id, { type: 'sample', value }, undefined, async (trx) => {
        for (const usage of used) await writeUsage(trx, usage)
      })
      const { onlookers } = this.#parts
      for (const usage of used) onlookers.used(usage)
      onlookers.drew(call.samplingSessionId ?? null, { sequences: value.sequences.length, tokens: drawn })
      return request.prompt.length + drawn
    } catch (thrown) {
      const cause = signal.aborted ? serviceError('CANCELLED', { what: 'The sample' }) : thrown
      if (!staysInJournal(cause)) await this.#parts.futures.reject(id, await this.#told(cause, draw))
      return request.prompt.length
    }
  }

  /** Weights that an engine cannot take may have been removed since the sample was accepted: that is no fault of ours. */
  async #told(cause: unknown, { payer, call }: Draw): Promise<unknown> {
    const { modelPath, samplingSessionId } = call
    if (!isUnreadable(cause) || modelPath === undefined) return unreadable(cause, modelPath ?? samplingSessionId ?? '')
    const found = this.#parts.checkpoints.find(payer.tenant, modelPath)
    return found.then(
      () => unreadable(cause, modelPath),
      (gone: unknown) => gone,
    )
  }

  standing(requestId: string): Standing | null {
    const job = this.#jobs.get(requestId)
    if (!job) return null
    const { draw, open, tenant } = job
    const { models } = this.#parts
    const place = open.queue.standing(job, performance.now()) ?? { state: 'running' }
    return inWords({ requestId, tenant, baseModel: draw.baseModel, kind: 'sampling' }, place, {
      isRestarting: models.isRestarting(draw.baseModel),
      rate: open.meter.rate,
      tokensPerMinute: this.#rules.allowance.rateOf(tenant),
      concurrentSamples: this.#rules.concurrencyOf(tenant),
    })
  }

  lines(): QueueLine[] {
    return [...this.#open].map(([baseModel, { queue, running, meter }]) => {
      let waiting = 0
      for (const { items } of queue.tenants.values()) waiting += items.size
      const tokensPerSecond = meter.rate && 1000 * meter.rate
      return {
        baseModel,
        kind: 'sampling',
        running: running.size,
        waiting,
        tenants: queue.tenants.size,
        tokensPerSecond,
      }
    })
  }

  open(): Iterable<string> {
    return this.#jobs.keys()
  }

  #frozen<T>(engine: Engine, folder: string, work: (id: SnapshotId) => Promise<T>): Promise<T> {
    return this.#snapshots.use(engine, this.#parts.checkpoints.absolute(folder), work)
  }

  /** Settles when nothing runs and nothing may begin now. */
  async drain(): Promise<void> {
    while (this.running) await Promise.all([...this.#open.values()].flatMap(({ running }) => [...running]))
  }

  /** Nothing more begins: the server closes. */
  stop(): void {
    this.#isStopped = true
    clearTimeout(this.#timer)
  }
}

function rulesOf(limitsOf: LimitsOf): DrawRules {
  return {
    weightOf: (tenant) => limitsOf(tenant).weight,
    concurrencyOf: (tenant) => limitsOf(tenant).concurrentSamples,
    allowance: new Allowance((tenant) => limitsOf(tenant).samplingTokensPerMinute),
    running: new Map(),
  }
}

function tokensOf(payer: Payer, baseModel: string, prompt: number, cached: number, drawn: number): Usage[] {
  const used = { ...payer, baseModel }
  return [
    { ...used, kind: 'sampling_prefill', tokens: prompt - cached },
    { ...used, kind: 'sampling_prefill_cached', tokens: cached },
    { ...used, kind: 'sampling_sample', tokens: drawn },
  ]
}
