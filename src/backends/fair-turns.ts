// Whose turn it is when something is shared by weight and turns differ in size: start-time fair queueing (Goyal, Vin and
// Cheng 1996). A member's time is what it was given, divided by its weight; the one with the least goes first. Whoever comes
// starts at the time of the one served now, and before those who are level with it and were served already: staying away
// saves nothing up, what is owed is not forgotten by leaving, and who wants little seldom waits for who wants much.
// Plain data without a clock; coming, leaving, being charged and being found cost O(log members) each.

import { Heap } from './heap.ts'

interface Member<T> {
  readonly name: string
  value: T
  weight: number
  /** Virtual time: cost given so far divided by weight. */
  time: number
  /** Nothing was given to it since it came. */
  isFresh: boolean
  /** Who came first goes first among equals. */
  arrival: number
  /** Place in the heap; -1 when it is away. */
  place: number
}

/** So many may be away before they are looked through. */
const KEPT = 64

export class FairTurns<T> {
  readonly #heap: Heap<Member<T>>
  readonly #members = new Map<string, Member<T>>()
  #now = 0
  #arrivals = 0
  #keep = KEPT
  #steps = 0

  constructor() {
    const placed = (member: Member<T>, place: number) => {
      member.place = place
    }
    this.#heap = new Heap((a, b) => this.#isBefore(a, b), placed)
  }

  get size(): number {
    return this.#heap.size
  }
  /** Comparisons made so far: what it costs, for tests. */
  get steps(): number {
    return this.#steps
  }
  /** The value of a member that wants turns. */
  get(name: string): T | undefined {
    const member = this.#members.get(name)
    return member && member.place >= 0 ? member.value : undefined
  }

  /** The virtual time at which its next turn starts. */
  timeOf(name: string): number {
    return Math.max(this.#now, this.#members.get(name)?.time ?? 0)
  }

  /** Of two that want turns: whether the first has its next one before the second. */
  precedes(one: string, other: string): boolean {
    const [a, b] = [this.#members.get(one), this.#members.get(other)]
    return a !== undefined && b !== undefined && a.place >= 0 && this.#isBefore(a, b)
  }

  #isBefore(a: Member<T>, b: Member<T>): boolean {
    this.#steps++
    if (a.time !== b.time) return a.time < b.time
    return a.isFresh === b.isFresh ? a.arrival < b.arrival : a.isFresh
  }

  /** A member wants turns. One that wants some already keeps its time; the weight is the new one from now on. */
  join(name: string, value: T, weight = 1): void {
    const member = this.#members.get(name) ?? { name, value, weight, time: 0, arrival: 0, isFresh: true, place: -1 }
    Object.assign(member, { value, weight })
    if (member.place >= 0) return
    member.time = Math.max(this.#now, member.time)
    member.isFresh = true
    member.arrival = this.#arrivals++
    this.#members.set(name, member)
    this.#heap.push(member)
  }

  /** It wants no more turns for now. */
  leave(name: string): void {
    const member = this.#members.get(name)
    if (!member || member.place < 0) return
    this.#advance()
    this.#heap.remove(member.place)
    if (this.#members.size - this.#heap.size > this.#keep) this.#forget()
  }

  /** It was given `cost`; a negative one takes back what was charged too much. Those who left can be charged too. */
  charge(name: string, cost: number): void {
    const member = this.#members.get(name)
    if (!member) return
    this.#advance()
    member.time += cost / member.weight
    member.isFresh = false
    if (member.place >= 0) this.#heap.moved(member.place)
  }

  /** Whose turn it is. */
  get first(): T | undefined {
    return this.#heap.first?.value
  }

  /** From the one whose turn it is on. Nobody may join, leave or be charged while this is read. */
  *inOrder(): Generator<T> {
    for (const { value } of this.#heap.inOrder()) yield value
  }

  /** Nothing is under way any more: nobody owes anybody anything. */
  settle(): void {
    for (const member of this.#members.values()) if (member.place < 0) this.#members.delete(member.name)
  }

  /** Virtual time follows whoever is served now, and never goes back. */
  #advance(): void {
    const { first } = this.#heap
    if (first) this.#now = Math.max(this.#now, first.time)
  }

  /** Those who left and owe nothing are no different from strangers. Done the more rarely the more of them do owe. */
  #forget(): void {
    for (const member of this.#members.values()) {
      this.#steps++
      if (member.place < 0 && member.time <= this.#now) this.#members.delete(member.name)
    }
    this.#keep = Math.max(KEPT, 2 * (this.#members.size - this.#heap.size))
  }
}
