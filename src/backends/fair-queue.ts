// Work of several parties on one engine, and whose comes next: parties are served in the ratio of their weights, the flows
// of a party (its adapters) equally, and within a flow order is kept. Knows neither what the work is nor what it costs.

import { FairTurns } from './fair-turns.ts'

/** On whose behalf something is computed. Parties get tokens in the ratio of their weights. */
export interface Share {
  readonly party: string
  readonly weight: number
}

interface Flow<T> {
  readonly name: string
  readonly party: Party<T>
  readonly items: T[]
}
interface Party<T> {
  readonly name: string
  readonly flows: FairTurns<Flow<T>>
}

export class FairQueue<T> {
  readonly #parties = new FairTurns<Party<T>>()
  readonly #flowOf = new Map<T, Flow<T>>()

  get size(): number {
    return this.#flowOf.size
  }

  push(item: T, { party: name, weight }: Share, flowName: string): void {
    const party = this.#parties.get(name) ?? { name, flows: new FairTurns() }
    const flow = party.flows.get(flowName) ?? { name: flowName, party, items: [] }
    flow.items.push(item)
    this.#flowOf.set(item, flow)
    party.flows.join(flowName, flow)
    this.#parties.join(name, party, weight)
  }

  remove(item: T): void {
    const flow = this.#flowOf.get(item)
    if (!flow) return
    this.#flowOf.delete(item)
    flow.items.splice(flow.items.indexOf(item), 1)
    const { party } = flow
    if (flow.items.length === 0) party.flows.leave(flow.name)
    if (party.flows.size === 0) this.#parties.leave(party.name)
  }

  /** Something of this item has been, or is being, computed. */
  charge(item: T, cost: number): void {
    const flow = this.#flowOf.get(item)
    if (!flow) return
    flow.party.flows.charge(flow.name, cost)
    this.#parties.charge(flow.party.name, cost)
  }

  /** What comes next first: all of the party whose turn it is, then all of the next. The queue must not change meanwhile. */
  *inOrder(): Generator<T> {
    for (const party of this.#parties.inOrder()) {
      for (const flow of party.flows.inOrder()) yield* flow.items
    }
  }
}
