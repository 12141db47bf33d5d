// The way of run operations into one engine: has carried out what the dispatcher says may begin, and tells it what is done.
// It runs only while there is work; it is woken by submissions, by ends, and by one timer when somebody waits for an
// allowance. Order and fairness are in scheduler/, meaning in run-executor.ts.

import { Dispatcher, type DispatchRules } from '../scheduler/dispatcher.ts'
import { Meter } from '../scheduler/meter.ts'
import { type Standing, standingOf } from '../scheduler/standing.ts'
import type { Group } from '../scheduler/tenant.ts'
import type { RunOperation } from './run-operation.ts'

export interface Carrier {
  /** Records that these are carried out now, in this order. Gives the ids of those that may be. */
  start(operations: readonly RunOperation[]): Promise<ReadonlySet<string>>
  /** Carries out operations of one run, once they are `started`. Never throws. */
  carry(operations: readonly RunOperation[], started: Promise<ReadonlySet<string>>): Promise<void>
}

/** `taken`: this number has had its turn. `ended`: the run takes no more operations. */
export type Pushed = 'accepted' | 'taken' | 'ended'

/** Timers cannot be set for longer than about 24 days; whoever is held is looked at at least this often. */
const LONGEST_TIMER_MS = 600_000

export class Lane {
  readonly #carrier: Carrier
  readonly #rules: DispatchRules
  readonly #now: () => number
  readonly #dispatcher: Dispatcher<RunOperation>
  readonly #meter = new Meter()
  readonly #ended = new Set<string>()
  /** Those with an id that have not ended. */
  readonly #operations = new Map<string, RunOperation>()
  #running = 0
  #isWoken = false
  #isStopped = false
  #timer: NodeJS.Timeout | undefined
  #whenIdle: (() => void)[] = []

  /** `now` gives milliseconds of a clock that does not go back. */
  constructor(carrier: Carrier, rules: DispatchRules, now: () => number = () => performance.now()) {
    this.#carrier = carrier
    this.#rules = rules
    this.#now = now
    this.#dispatcher = new Dispatcher(rules)
  }

  push(operation: RunOperation, seq: number): Pushed {
    if (this.#ended.has(operation.run.id)) return 'ended'
    if (!this.#dispatcher.push(operation, seq)) return 'taken'
    if (operation.id) this.#operations.set(operation.id, operation)
    this.#wake()
    return 'accepted'
  }

  /** A request with this number was refused: later ones need not wait for it. */
  skip(run: string, seq: number): void {
    if (seq === 0 || this.#ended.has(run)) return
    this.#dispatcher.skip(run, seq)
    this.#wake()
  }

  /** The numbers of a run up to this one have had their turn. Before it has any work. */
  beginRun(run: string, after: number): void {
    this.#dispatcher.begin(run, after)
  }

  /** What waits for a lower number, taken out: the number will not come any more. */
  takeEarly(run: string): RunOperation[] {
    return this.#out(this.#dispatcher.takeEarly(run))
  }

  /** Ends the order of a run; gives what had not been started. */
  end(run: string): RunOperation[] {
    this.#ended.add(run)
    return this.#out(this.#dispatcher.end(run))
  }

  #out(operations: readonly RunOperation[]): RunOperation[] {
    for (const { id } of operations) if (id) this.#operations.delete(id)
    return [...operations]
  }

  /** Limits of tenants may have changed. */
  reconsider(): void {
    this.#dispatcher.reconsider()
    this.#wake()
  }

  get running(): number {
    return this.#running
  }
  get waiting(): number {
    let count = 0
    for (const { adapters } of this.#dispatcher.tenants.values()) {
      for (const { queue } of adapters.values()) count += queue.ready.length + queue.early
    }
    return count
  }
  /** Tenants that have something running or waiting. */
  get tenants(): number {
    return new Set([...this.#operations.values()].map(({ run }) => run.tenant)).size
  }
  /** Tokens a millisecond; null when nothing is known. */
  get rate(): number | null {
    return this.#meter.rate
  }
  get open(): Iterable<string> {
    return this.#operations.keys()
  }

  /** Null for what is not here. */
  standing(id: string): { readonly operation: RunOperation; readonly standing: Standing } | null {
    const operation = this.#operations.get(id)
    const { weightOf, allowance } = this.#rules
    const rules = { weightOf, rateOf: (tenant: string) => allowance.rateOf(tenant) }
    const standing = operation && standingOf(this.#dispatcher, operation, rules, this.#now())
    return operation && standing ? { operation, standing } : null
  }

  /** Settles when nothing is running and nothing can begin now. */
  idle(): Promise<void> {
    if (this.#isIdle()) return Promise.resolve()
    return new Promise((resolve) => this.#whenIdle.push(resolve))
  }

  /** Nothing more is carried out. Settles when what is under way has ended. */
  stop(): Promise<void> {
    this.#isStopped = true
    clearTimeout(this.#timer)
    return this.idle()
  }

  #isIdle(): boolean {
    return this.#running === 0 && !this.#isWoken
  }

  /** Submissions of one tick travel together. */
  #wake(): void {
    if (this.#isWoken) return
    this.#isWoken = true
    queueMicrotask(() => {
      this.#isWoken = false
      if (!this.#isStopped) this.#dispatch()
      this.#tellIdle()
    })
  }

  #dispatch(): void {
    const groups = this.#dispatcher.next(this.#now())
    if (groups.length) {
      const started = this.#carrier.start(groups.flatMap((group) => group.operations))
      for (const group of groups) void this.#carry(group, started)
    }
    this.#setTimer()
  }

  async #carry(group: Group<RunOperation>, started: Promise<ReadonlySet<string>>): Promise<void> {
    this.#running++
    this.#meter.begin(this.#now())
    await this.#carrier.carry(group.operations, started)
    this.#meter.end(group.cost, this.#now())
    this.#running--
    this.#out(group.operations)
    this.#dispatcher.done(group)
    this.#wake()
  }

  #setTimer(): void {
    clearTimeout(this.#timer)
    const time = this.#dispatcher.nextTime
    if (time === null) return
    const ms = Math.min(Math.max(0, time - this.#now()), LONGEST_TIMER_MS)
    this.#timer = setTimeout(() => this.#wake(), ms).unref()
  }

  #tellIdle(): void {
    if (!this.#isIdle()) return
    for (const resolve of this.#whenIdle.splice(0)) resolve()
  }
}
