// Which samples go to one engine now. Tenants take turns by weight, in tokens: a request is charged for what it will probably
// take, and when it has ended for what it took. A tenant that has nothing with the engine finds places that others cannot have. What is over
// a limit of its tenant waits: for its time, or for an end. Plain data: no engine, no promises, and time is passed in.

import { FairTurns } from '../../backends/fair-turns.ts'
import { Heap } from '../../backends/heap.ts'
import type { Allowance } from './allowance.ts'
import type { Standing } from './standing.ts'

export interface Drawable {
  readonly tenant: string
  readonly sequences: number
  /** Tokens of the prompt and of all that may be drawn. */
  readonly most: number
}

export interface DrawRules {
  readonly weightOf: (tenant: string) => number
  /** Sequences at the same time, on all engines together; null = no limit. */
  readonly concurrencyOf: (tenant: string) => number | null
  readonly allowance: Allowance
  /** Sequences of each tenant that are with an engine; shared by the queues of all engines. */
  readonly running: Map<string, number>
}

export interface Waiting<T> {
  readonly id: string
  readonly items: Set<T>
  /** Its sequences with this engine. */
  places: number
  /** Why it has no turns, if it wants some. */
  blocked: 'rate' | 'concurrency' | null
  heldUntil: number
  heldPlace: number
}

/** Places with the engine: rows of its batch, and a few that wait there so that no row stays empty. */
const PLACES = 72
/** Kept for tenants that have nothing there. */
const SPARE = 24
/** An engine draws the sequences of one request in waves of at most so many. */
const WAVE = 32

/** How much the newest request counts in what a tenant is known for, and of how many tenants that is kept. */
const LEARNING = 0.1
const MOST_HABITS = 4096

const placesOf = ({ sequences }: Drawable) => Math.min(Math.max(1, sequences), WAVE)

export class DrawQueue<T extends Drawable> {
  readonly #rules: DrawRules
  readonly #tenants = new Map<string, Waiting<T>>()
  readonly #turns = new FairTurns<Waiting<T>>()
  /** Those whose turn may come and that have nothing with the engine. */
  readonly #hungry = new Set<Waiting<T>>()
  readonly #held = new Heap<Waiting<T>>(
    (a, b) => a.heldUntil < b.heldUntil,
    (tenant, place) => {
      tenant.heldPlace = place
    },
  )
  #places = 0
  /** What each with the engine was charged. */
  readonly #charged = new Map<T, number>()
  /** The part of what they might draw that tenants did draw of late. */
  readonly #habits = new Map<string, number>()

  constructor(rules: DrawRules) {
    this.#rules = rules
  }

  push(item: T): void {
    let tenant = this.#tenants.get(item.tenant)
    if (!tenant) {
      tenant = { id: item.tenant, items: new Set(), places: 0, blocked: null, heldUntil: 0, heldPlace: -1 }
      this.#tenants.set(item.tenant, tenant)
    }
    tenant.items.add(item)
    this.#refresh(tenant)
  }

  /** Takes out what waits; false when it does not. */
  remove(item: T): boolean {
    const tenant = this.#tenants.get(item.tenant)
    if (!tenant?.items.delete(item)) return false
    this.#refresh(tenant)
    return true
  }

  get tenants(): ReadonlyMap<string, Waiting<T>> {
    return this.#tenants
  }
  timeOf(tenant: string): number {
    return this.#turns.timeOf(tenant)
  }
  get steps(): number {
    return this.#turns.steps
  }
  /** When somebody may go who may not now; null = that is not a matter of time. */
  get nextTime(): number | null {
    return this.#held.first?.heldUntil ?? null
  }

  /** Limits may have changed: whoever is held by one is looked at again. */
  reconsider(): void {
    while (this.#held.size) this.#held.shift()
    for (const tenant of this.#tenants.values()) if (tenant.blocked) this.#unblock(tenant)
  }

  /** A sequence of this tenant has ended, on whichever engine. */
  freed(id: string): void {
    const tenant = this.#tenants.get(id)
    if (tenant?.blocked === 'concurrency') this.#unblock(tenant)
  }

  /** What may begin now; the caller says of each when it is done. */
  next(now: number): T[] {
    while ((this.#held.first?.heldUntil ?? Number.POSITIVE_INFINITY) <= now) {
      this.#unblock(this.#held.shift() as Waiting<T>)
    }
    const items: T[] = []
    for (;;) {
      const tenant = this.#nextTenant()
      if (!tenant) return items
      const item = this.#begin(tenant, now)
      if (item) items.push(item)
    }
  }

  #nextTenant(): Waiting<T> | undefined {
    const [hungry] = this.#hungry
    if (hungry && this.#places < PLACES + SPARE) return hungry
    return this.#places < PLACES ? this.#turns.first : undefined
  }

  #begin(tenant: Waiting<T>, now: number): T | null {
    const { allowance, running } = this.#rules
    const [item] = tenant.items as Set<T> & [T]
    const cost = this.#expected(item)
    const wait = allowance.waitMs(tenant.id, cost, now)
    if (this.#isFull(item)) tenant.blocked = 'concurrency'
    else if (wait > 0) {
      tenant.blocked = 'rate'
      tenant.heldUntil = now + wait
      this.#held.push(tenant)
    }
    if (!tenant.blocked) {
      this.#charged.set(item, cost)
      allowance.take(tenant.id, cost, now)
      this.#turns.charge(tenant.id, cost)
      running.set(tenant.id, (running.get(tenant.id) ?? 0) + item.sequences)
      tenant.items.delete(item)
      tenant.places += placesOf(item)
      this.#places += placesOf(item)
    }
    this.#refresh(tenant)
    return tenant.blocked ? null : item
  }

  /** More at the same time than its tenant may have. What is alone may be more. */
  #isFull({ tenant, sequences }: T): boolean {
    const limit = this.#rules.concurrencyOf(tenant)
    const running = this.#rules.running.get(tenant) ?? 0
    return limit !== null && (limit === 0 || (running > 0 && running + sequences > limit))
  }

  /** `used`: tokens of the prompt and of what was drawn. */
  done(item: T, used: number, now: number): void {
    const { allowance, running } = this.#rules
    const tenant = this.#tenants.get(item.tenant) as Waiting<T>
    const left = (running.get(item.tenant) ?? 0) - item.sequences
    if (left > 0) running.set(item.tenant, left)
    else running.delete(item.tenant)
    const more = used - (this.#charged.get(item) ?? 0)
    this.#charged.delete(item)
    allowance.take(item.tenant, more, now)
    this.#turns.charge(item.tenant, more)
    this.#learn(item, used)
    tenant.places -= placesOf(item)
    this.#places -= placesOf(item)
    if (this.#places === 0 && this.#turns.size === 0) this.#turns.settle()
    // What was given back may be enough to go on.
    if (tenant.blocked === 'rate') {
      this.#held.remove(tenant.heldPlace)
      tenant.blocked = null
    }
    this.#refresh(tenant)
  }

  /** Tokens that a request will probably take: most end before they must. */
  #expected({ tenant, most }: T): number {
    return most * (this.#habits.get(tenant) ?? 1)
  }

  #learn({ tenant, most }: T, used: number): void {
    const known = this.#habits.get(tenant) ?? 1
    this.#habits.delete(tenant)
    this.#habits.set(tenant, known + LEARNING * (Math.min(1, used / most) - known))
    const [oldest] = this.#habits.keys()
    if (this.#habits.size > MOST_HABITS && oldest !== undefined) this.#habits.delete(oldest)
  }

  #unblock(tenant: Waiting<T>): void {
    tenant.blocked = null
    this.#refresh(tenant)
  }

  /** Where it stands that waits; null for what does not. */
  standing(item: T, now: number): Standing | null {
    const tenant = this.#tenants.get(item.tenant)
    if (!tenant?.items.has(item)) return null
    const before: T[] = []
    for (const other of tenant.items) {
      if (other === item) break
      before.push(other)
    }
    const own = { ahead: before.length, cost: before.reduce((sum, one) => sum + this.#expected(one), 0) }
    if (tenant.blocked === 'concurrency') return { state: 'full', ahead: own.ahead }
    if (tenant.blocked === 'rate') {
      const rate = this.#rules.allowance.rateOf(tenant.id) ?? Number.POSITIVE_INFINITY
      return {
        state: 'held',
        ahead: own.ahead,
        waitMs: Math.max(0, tenant.heldUntil - now) + (own.cost / rate) * 60_000,
      }
    }
    return this.#amongOthers(tenant, own)
  }

  #amongOthers(tenant: Waiting<T>, own: { readonly ahead: number; readonly cost: number }): Standing {
    let { ahead, cost } = own
    let others = 0
    const start = this.#turns.timeOf(tenant.id) + own.cost / this.#rules.weightOf(tenant.id)
    for (const other of this.#tenants.values()) {
      if (other === tenant || other.blocked) continue
      const limit = (start - this.#turns.timeOf(other.id)) * this.#rules.weightOf(other.id)
      const isLevel = limit === 0 && this.#turns.precedes(other.id, tenant.id)
      let given = 0
      for (const item of other.items) {
        if (given >= limit && (given > 0 || !isLevel)) break
        if (given === 0) others++
        given += this.#expected(item)
        ahead++
      }
      cost += given
    }
    return { state: 'waiting', ahead, cost, others }
  }

  #refresh(tenant: Waiting<T>): void {
    const wants = tenant.items.size > 0 && !tenant.blocked
    if (wants) this.#turns.join(tenant.id, tenant, this.#rules.weightOf(tenant.id))
    else this.#turns.leave(tenant.id)
    if (wants && tenant.places === 0) this.#hungry.add(tenant)
    else this.#hungry.delete(tenant)
    if (tenant.items.size === 0 && tenant.places === 0 && !tenant.blocked) this.#tenants.delete(tenant.id)
  }
}
