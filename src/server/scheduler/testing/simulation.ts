// The scheduler before a simulated engine, with a clock that only the simulation moves. The engine computes one micro-batch
// after the other as the real one chooses them (backends/fair-queue.ts); what each takes is its tokens. For tests: it keeps
// the whole history.

import { FairQueue } from '../../../backends/fair-queue.ts'
import { Allowance } from '../allowance.ts'
import { Dispatcher } from '../dispatcher.ts'
import { costOf, type Group, type Schedulable } from '../tenant.ts'

export const MICRO_BATCH = 1024
/** Milliseconds that the engine needs for a token. */
export const MS_PER_TOKEN = 0.01

export interface Op extends Schedulable {
  readonly id: number
  readonly submitted: number
}
interface Part {
  readonly group: Group<Op>
  readonly op: Op
  left: number
}
export interface Ended {
  readonly op: Op
  readonly at: number
}

/** Mulberry32: a small generator, so that a seed means the same everywhere. */
export function generator(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
}

export class Simulation {
  now = 0
  readonly ended: Ended[] = []
  /** Tokens that each tenant was given, in the order of time. */
  readonly given: [at: number, tenant: string, tokens: number][] = []
  readonly started: [at: number, op: Op][] = []
  readonly dispatcher: Dispatcher<Op>
  readonly #engine = new FairQueue<Part>()
  readonly #open = new Map<Group<Op>, number>()
  readonly #weights: (tenant: string) => number
  #ids = 0

  constructor({
    weights = () => 1,
    rates = () => null,
  }: Partial<{ weights: (t: string) => number; rates: (t: string) => number | null }> = {}) {
    this.#weights = weights
    this.dispatcher = new Dispatcher({ weightOf: weights, allowance: new Allowance(rates) })
  }

  submit(tenant: string, run: string, tokens: number, batchClass: Op['batchClass'] = 'train'): Op {
    const op = { id: this.#ids++, submitted: this.now, run: { id: run, tenant }, batchClass, cost: tokens, tokens }
    this.dispatcher.push(op, 0)
    return op
  }

  /** Lets the engine compute until `time`, or until nothing can go on. `each` is called after every micro-batch. */
  run(time = Number.POSITIVE_INFINITY, each: () => void = () => {}): void {
    for (;;) {
      this.#dispatch()
      if (this.#engine.size) this.#compute()
      else if (this.dispatcher.nextTime !== null)
        this.now = Math.min(Math.max(this.now, this.dispatcher.nextTime), time)
      else break
      each()
      if (this.now >= time) break
    }
    if (Number.isFinite(time)) this.now = Math.max(this.now, time)
  }

  #dispatch(): void {
    for (const group of this.dispatcher.next(this.now)) {
      this.#open.set(group, group.operations.length)
      const { tenant, run } = group.adapter
      for (const op of group.operations) {
        this.started.push([this.now, op])
        const share = { party: tenant.id, weight: this.#weights(tenant.id) }
        this.#engine.push({ group, op, left: costOf(op) }, share, run)
      }
    }
  }

  #compute(): void {
    let room = MICRO_BATCH
    const taken: [Part, number][] = []
    for (const part of this.#engine.inOrder()) {
      const tokens = Math.min(room, part.left)
      taken.push([part, tokens])
      room -= tokens
      if (room === 0) break
    }
    this.now += (MICRO_BATCH - room) * MS_PER_TOKEN
    for (const [part, tokens] of taken) {
      part.left -= tokens
      this.given.push([this.now, part.op.run.tenant, tokens])
      this.#engine.charge(part, tokens)
      if (part.left === 0) this.#end(part)
    }
  }

  #end(part: Part): void {
    this.#engine.remove(part)
    this.ended.push({ op: part.op, at: this.now })
    const left = (this.#open.get(part.group) as number) - 1
    this.#open.set(part.group, left)
    if (left > 0) return
    this.#open.delete(part.group)
    this.dispatcher.done(part.group)
  }

  /** Tokens by tenant between two times. */
  tokens(from: number, to: number): Map<string, number> {
    const sums = new Map<string, number>()
    for (const [at, tenant, tokens] of this.given) {
      if (at > from && at <= to) sums.set(tenant, (sums.get(tenant) ?? 0) + tokens)
    }
    return sums
  }
}
