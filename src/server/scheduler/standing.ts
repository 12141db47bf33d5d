// Where an operation stands that waits: what is ahead of it if nobody comes any more, by the same virtual times by which
// turns are given (fair-turns.ts). Looked up when somebody asks, never kept. Plain data.

import type { Dispatcher } from './dispatcher.ts'
import { type Adapter, costOf, type Schedulable, type Tenant } from './tenant.ts'

export type Standing =
  | { readonly state: 'running' }
  /** `number`: the lower number that has not come. */
  | { readonly state: 'early'; readonly number: number }
  /** Its tenant has as much at the same time as it may have. */
  | { readonly state: 'full'; readonly ahead: number }
  /** Over the allowance of its tenant for so long. */
  | { readonly state: 'held'; readonly ahead: number; readonly waitMs: number }
  | {
      readonly state: 'waiting'
      /** Operations and their tokens, those of other tenants included. */
      readonly ahead: number
      readonly cost: number
      /** Other tenants among those that are ahead. */
      readonly others: number
    }

interface Ahead {
  operations: number
  cost: number
}

/** Null for what is not here. */
export function standingOf<T extends Schedulable>(
  dispatcher: Dispatcher<T>,
  operation: T,
  rules: { readonly weightOf: (tenant: string) => number; readonly rateOf: (tenant: string) => number | null },
  now: number,
): Standing | null {
  const adapter = dispatcher.get(operation.run.id)
  if (!adapter) return null
  if (adapter.group?.operations.includes(operation)) return { state: 'running' }
  const index = adapter.queue.ready.indexOf(operation)
  if (index < 0) {
    const { missing } = adapter.queue
    return missing !== null && adapter.queue.waitingEarly.includes(operation)
      ? { state: 'early', number: missing }
      : null
  }
  const own = inTenant(adapter, index)
  const { tenant } = adapter
  if (tenant.held.has(adapter)) {
    const rate = rules.rateOf(tenant.id) ?? Number.POSITIVE_INFINITY
    const tokens = heldTokensBefore(adapter, index)
    return {
      state: 'held',
      ahead: own.operations,
      waitMs: Math.max(0, tenant.heldUntil - now) + (tokens / rate) * 60_000,
    }
  }
  let { operations, cost } = own
  let others = 0
  // What of it is with the engine has been charged already.
  const charged = adapter.group?.cost ?? 0
  const start = dispatcher.timeOf(tenant.id) + (own.cost - charged) / rules.weightOf(tenant.id)
  for (const other of dispatcher.tenants.values()) {
    if (other === tenant) continue
    const time = (start - dispatcher.timeOf(other.id)) * rules.weightOf(other.id)
    // Of those who are level with it, the next one goes before it or does not.
    const before = costBefore(other, time === 0 && dispatcher.precedes(other.id, tenant.id) ? 1 : time)
    operations += before.operations
    cost += before.cost
    if (before.operations) others++
  }
  return { state: 'waiting', ahead: operations, cost, others }
}

/** What goes before the operation at `index` of an adapter's, of its own tenant. */
function inTenant<T extends Schedulable>(adapter: Adapter<T>, index: number): Ahead {
  const { tenant, queue, group } = adapter
  const before = queue.ready.slice(0, index)
  const ahead = {
    operations: index + (group?.operations.length ?? 0),
    cost: sum(before.map(costOf)) + (group?.cost ?? 0),
  }
  const start = tenant.turns.timeOf(adapter.run) + sum(before.map(costOf))
  for (const other of tenant.adapters.values()) {
    if (other === adapter) continue
    const time = start - tenant.turns.timeOf(other.run)
    add(ahead, prefix(other, time === 0 && tenant.turns.precedes(other.run, adapter.run) ? 1 : time))
  }
  return ahead
}

/** What a tenant starts of what it has waiting while it is given less than `cost`. */
function costBefore<T extends Schedulable>(tenant: Tenant<T>, cost: number): Ahead {
  const ahead = { operations: 0, cost: 0 }
  for (const adapter of tenant.adapters.values()) {
    if (ahead.cost >= cost) break
    add(ahead, prefix(adapter, cost - ahead.cost))
  }
  return ahead
}

function prefix<T extends Schedulable>({ queue, tenant, run }: Adapter<T>, limit: number): Ahead {
  const ahead = { operations: 0, cost: 0 }
  if (tenant.held.size && tenant.held.has(tenant.adapters.get(run) as Adapter<T>)) return ahead
  for (const operation of queue.ready) {
    if (ahead.cost >= limit) break
    ahead.operations++
    ahead.cost += costOf(operation)
  }
  return ahead
}

/** Tokens that are held longer than the first of the tenant's, and not as long as this one. */
function heldTokensBefore<T extends Schedulable>(adapter: Adapter<T>, index: number): number {
  let tokens = 0
  for (const held of adapter.tenant.held) {
    if (held === adapter) break
    tokens += sum(held.queue.ready.map((operation) => operation.tokens))
  }
  return tokens + sum(adapter.queue.ready.slice(0, index).map((operation) => operation.tokens))
}

function add(to: Ahead, more: Ahead): void {
  to.operations += more.operations
  to.cost += more.cost
}

const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0)
