// What the dispatcher knows of the tenants that have something to do: their adapters, and where each of these waits. Data
// only; dispatcher.ts keeps it.

import { FairTurns } from '../../backends/fair-turns.ts'
import type { AdapterQueue } from './adapter-queue.ts'

export type BatchClass = 'train' | 'optim' | 'single'
export interface Schedulable {
  readonly run: { readonly id: string; readonly tenant: string }
  readonly batchClass: BatchClass
  /** What it takes of the engine, in tokens. */
  readonly cost: number
  /** Tokens that count against the tenant's allowance. */
  readonly tokens: number
}

/** Operations without tokens are not free: writing what became of them takes time. */
const LEAST_COST = 64

export const costOf = ({ cost }: Schedulable): number => Math.max(cost, LEAST_COST)

/** Operations of one adapter that go to the engine together: training passes in a row, or one of another class. */
export interface Group<T> {
  readonly operations: readonly T[]
  readonly cost: number
  /** More than the window holds: it runs beside it, one for each tenant. */
  readonly isLarge: boolean
  readonly adapter: Adapter<T>
}

export interface Adapter<T> {
  readonly run: string
  readonly tenant: Tenant<T>
  readonly queue: AdapterQueue<T>
  /** What of it is with the engine. */
  group: Group<T> | null
}

export interface Tenant<T> {
  readonly id: string
  readonly adapters: Map<string, Adapter<T>>
  /** Adapters that have something to do and nothing with the engine. */
  readonly turns: FairTurns<Adapter<T>>
  /** The same, but what they have to do is large and another large one is with the engine. */
  readonly parked: Set<Adapter<T>>
  /** The same, but what they have to do is over the allowance. */
  readonly held: Set<Adapter<T>>
  heldUntil: number
  /** Place among those that are held; -1 = not. */
  heldPlace: number
  /** Tokens with the engine, large ones not counted. */
  underWay: number
  large: Group<T> | null
}

export function newTenant<T>(id: string): Tenant<T> {
  const aside = { parked: new Set<Adapter<T>>(), held: new Set<Adapter<T>>() }
  const nothing = { underWay: 0, large: null, heldUntil: 0, heldPlace: -1 }
  return { id, adapters: new Map(), turns: new FairTurns(), ...aside, ...nothing }
}
