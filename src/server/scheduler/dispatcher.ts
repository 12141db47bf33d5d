// Which run operations go to the engine now. Within an adapter order is kept (adapter-queue.ts). Adapters of a tenant take
// turns, and tenants do by weight; a tenant that has little with the engine is never kept waiting by others, for the engine
// shares its micro-batches among those it has (backends/fair-queue.ts). What is over a tenant's allowance waits for its
// time. Plain data: no engine, no promises, and time is passed in.

import { FairTurns } from '../../backends/fair-turns.ts'
import { Heap } from '../../backends/heap.ts'
import { AdapterQueue } from './adapter-queue.ts'
import type { Allowance } from './allowance.ts'
import { type Adapter, costOf, type Group, newTenant, type Schedulable, type Tenant } from './tenant.ts'

export interface DispatchRules {
  readonly weightOf: (tenant: string) => number
  readonly allowance: Allowance
}

/** Tokens that are with the engine at once, so that it can fill its micro-batches. */
const WINDOW = 8192
/** Tokens that a tenant may have with the engine in any case: enough to fill a micro-batch of it when its turn comes. */
const QUANTUM = 1024

export class Dispatcher<T extends Schedulable> {
  readonly #rules: DispatchRules
  readonly #tenants = new Map<string, Tenant<T>>()
  readonly #adapters = new Map<string, Adapter<T>>()
  /** Queues of runs that have had no operation yet, so that their tenants are not known. */
  readonly #unowned = new Map<string, AdapterQueue<T>>()
  /** Tenants whose turn may come. */
  readonly #turns = new FairTurns<Tenant<T>>()
  /** Those of them that have less than a quantum with the engine. */
  readonly #hungry = new Set<Tenant<T>>()
  readonly #held = new Heap<Tenant<T>>(
    (a, b) => a.heldUntil < b.heldUntil,
    (tenant, place) => {
      tenant.heldPlace = place
    },
  )
  #underWay = 0

  constructor(rules: DispatchRules) {
    this.#rules = rules
  }

  /** Returns false when the number has had its turn already. */
  push(operation: T, seq: number): boolean {
    const adapter = this.#adapter(operation.run)
    const accepted = adapter.queue.push(operation, seq)
    this.#offer(adapter)
    return accepted
  }

  /** A request with this number was refused: later ones need not wait for it. */
  skip(run: string, seq: number): void {
    const adapter = this.#adapters.get(run)
    const queue = adapter?.queue ?? this.#unowned.get(run) ?? new AdapterQueue<T>()
    queue.skip(seq)
    if (adapter) this.#offer(adapter)
    else this.#unowned.set(run, queue)
  }

  /** The numbers of a run up to this one have had their turn. Before it has any work. */
  begin(run: string, after: number): void {
    const queue = this.#unowned.get(run) ?? new AdapterQueue<T>()
    queue.begin(after)
    this.#unowned.set(run, queue)
  }

  /** What waits for a lower number, taken out: the number will not come any more. */
  takeEarly(run: string): T[] {
    return this.#adapters.get(run)?.queue.takeEarly() ?? []
  }

  /** Ends the order of a run; gives what had not been started. */
  end(run: string): T[] {
    const adapter = this.#adapters.get(run)
    this.#unowned.delete(run)
    if (!adapter) return []
    const { tenant } = adapter
    this.#adapters.delete(run)
    tenant.adapters.delete(run)
    tenant.turns.leave(run)
    tenant.parked.delete(adapter)
    tenant.held.delete(adapter)
    this.#refresh(tenant)
    return adapter.queue.drain()
  }

  get tenants(): ReadonlyMap<string, Tenant<T>> {
    return this.#tenants
  }
  /** The virtual time at which a tenant's next turn starts. */
  timeOf(tenant: string): number {
    return this.#turns.timeOf(tenant)
  }
  /** Of two tenants that are level with each other: whether the first has its turn before the second. */
  precedes(one: string, other: string): boolean {
    return this.#turns.precedes(one, other)
  }
  get(run: string): Adapter<T> | undefined {
    return this.#adapters.get(run)
  }
  /** Comparisons made so far, for tests. */
  get steps(): number {
    let { steps } = this.#turns
    for (const { turns } of this.#tenants.values()) steps += turns.steps
    return steps
  }

  /** When somebody may go who may not now; null = that is not a matter of time. */
  get nextTime(): number | null {
    return this.#held.first?.heldUntil ?? null
  }

  /** Allowances may have changed: whoever is held is looked at again. */
  reconsider(): void {
    const held = Array.from({ length: this.#held.size }, () => this.#held.shift() as Tenant<T>)
    for (const tenant of held) {
      tenant.heldUntil = Number.NEGATIVE_INFINITY
      this.#held.push(tenant)
    }
  }

  /** What may begin now; the caller says of each when it is done. */
  next(now: number): Group<T>[] {
    for (let tenant = this.#due(now); tenant; tenant = this.#due(now)) this.#release(tenant, now)
    const groups: Group<T>[] = []
    for (;;) {
      const [hungry] = this.#hungry
      const tenant = hungry ?? (this.#underWay < WINDOW ? this.#turns.first : undefined)
      if (!tenant) return groups
      const group = this.#begin(tenant, now)
      if (group) groups.push(group)
    }
  }

  done({ adapter, cost, isLarge }: Group<T>): void {
    const { tenant } = adapter
    adapter.group = null
    if (isLarge) {
      tenant.large = null
      const [parked] = tenant.parked
      if (parked) {
        tenant.parked.delete(parked)
        this.#offer(parked)
      }
    } else {
      tenant.underWay -= cost
      this.#underWay -= cost
    }
    this.#offer(adapter)
    this.#refresh(tenant)
  }

  #due(now: number): Tenant<T> | undefined {
    const { first } = this.#held
    return first && first.heldUntil <= now ? this.#held.shift() : undefined
  }

  /** The next adapter that was over the allowance gets its turn, or the time is set when it will. */
  #release(tenant: Tenant<T>, now: number): void {
    const [adapter] = tenant.held
    if (!adapter || tenant.heldPlace >= 0) return
    const wait = this.#waitOf(adapter, now)
    if (wait > 0) {
      tenant.heldUntil = now + wait
      this.#held.push(tenant)
      return
    }
    tenant.held.delete(adapter)
    this.#offer(adapter)
  }

  #waitOf({ tenant, queue }: Adapter<T>, now: number): number {
    const [head] = queue.ready
    return head ? this.#rules.allowance.waitMs(tenant.id, head.tokens, now) : 0
  }

  /** The group of a tenant whose turn it is; null when the adapter whose turn it would be cannot go now. */
  #begin(tenant: Tenant<T>, now: number): Group<T> | null {
    const adapter = tenant.turns.first as Adapter<T>
    const isLarge = costOf(adapter.queue.ready[0] as T) > WINDOW
    if (isLarge && tenant.large) tenant.parked.add(adapter)
    else if (this.#waitOf(adapter, now) > 0) tenant.held.add(adapter)
    else return this.#take(adapter, isLarge, now)
    tenant.turns.leave(adapter.run)
    this.#release(tenant, now)
    this.#refresh(tenant)
    return null
  }

  #take(adapter: Adapter<T>, isLarge: boolean, now: number): Group<T> {
    const { tenant, queue, run } = adapter
    const operations = this.#together(adapter, isLarge, now)
    const cost = operations.reduce((sum, operation) => sum + costOf(operation), 0)
    const group: Group<T> = { operations, cost, isLarge, adapter }
    adapter.group = group
    tenant.turns.charge(run, cost)
    tenant.turns.leave(run)
    if (isLarge) tenant.large = group
    else {
      this.#turns.charge(tenant.id, cost)
      tenant.underWay += cost
      this.#underWay += cost
    }
    queue.take(operations.length)
    this.#release(tenant, now)
    this.#refresh(tenant)
    return group
  }

  /** The first operation in any case, and training passes behind it as long as there is room and allowance. */
  #together({ tenant, queue }: Adapter<T>, isLarge: boolean, now: number): T[] {
    const { allowance } = this.#rules
    const taken: T[] = []
    let room = Math.max(QUANTUM, WINDOW - this.#underWay)
    for (const operation of queue.ready) {
      const follows = taken.length > 0
      if (follows && (isLarge || operation.batchClass !== 'train' || costOf(operation) > room)) break
      if (follows && allowance.waitMs(tenant.id, operation.tokens, now) > 0) break
      allowance.take(tenant.id, operation.tokens, now)
      room -= costOf(operation)
      taken.push(operation)
      if (operation.batchClass !== 'train') break
    }
    return taken
  }

  #adapter({ id, tenant: name }: Schedulable['run']): Adapter<T> {
    const known = this.#adapters.get(id)
    if (known) return known
    const tenant = this.#tenant(name)
    const adapter = { run: id, tenant, queue: this.#unowned.get(id) ?? new AdapterQueue<T>(), group: null }
    this.#unowned.delete(id)
    tenant.adapters.set(id, adapter)
    this.#adapters.set(id, adapter)
    return adapter
  }

  #tenant(id: string): Tenant<T> {
    const tenant = this.#tenants.get(id) ?? newTenant(id)
    this.#tenants.set(id, tenant)
    return tenant
  }

  /** An adapter that has something to do and nothing with the engine takes part in the turns of its tenant. */
  #offer(adapter: Adapter<T>): void {
    const { tenant, queue, run, group } = adapter
    const waitsAside = tenant.parked.has(adapter) || tenant.held.has(adapter)
    if (group || waitsAside || !queue.ready.length || this.#adapters.get(run) !== adapter) return
    tenant.turns.join(run, adapter)
    this.#refresh(tenant)
  }

  #refresh(tenant: Tenant<T>): void {
    const wants = tenant.turns.size > 0
    if (wants) this.#turns.join(tenant.id, tenant, this.#rules.weightOf(tenant.id))
    else this.#turns.leave(tenant.id)
    if (wants && tenant.underWay < QUANTUM) this.#hungry.add(tenant)
    else this.#hungry.delete(tenant)
    if (tenant.adapters.size === 0 && !tenant.large && tenant.underWay === 0) this.#tenants.delete(tenant.id)
  }
}
