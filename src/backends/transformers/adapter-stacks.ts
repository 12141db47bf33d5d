// Adapters side by side, as the sampling graphs want them: each adapter in use has `rank` columns of every stack. Adapters
// that nobody uses keep their columns until another needs them, so that calls in a row with one snapshot copy nothing.
// Knows layouts; which row of a batch uses which adapter is the caller's.

import type { AdapterWeights } from './adapter.ts'
import type { DecoderShape, Projection, Section } from './adapter-layout.ts'
import { projectionShape } from './adapter-layout.ts'
import { BLOCK, COLUMN_STEP, MAX_COLUMNS, STACK_GROUPS, stackName } from './low-rank.ts'
import type { Feed } from './runner.ts'

interface Place {
  readonly first: number
  readonly rank: number
  /** Sequences that use it now. */
  users: number
  /** When it was last asked for. */
  used: number
}

interface Stack {
  readonly name: string
  readonly dims: (columns: number) => number[]
  /** Row-major [layers, outer, slots * columns, inner]: where column c of slot s lies. */
  readonly layers: number
  readonly outer: number
  readonly slots: number
  readonly inner: number
  data: Float32Array
}

export class AdapterStacks {
  readonly #stacks: readonly Stack[]
  readonly #places = new Map<string, Place>()
  #columns = 0
  #users = 0
  #clock = 0

  constructor(model: DecoderShape) {
    this.#stacks = STACK_GROUPS.flatMap((group) => [aStack(model, group), ...group.map((p) => bStack(model, p))])
    this.#restart(COLUMN_STEP)
  }

  get columns(): number {
    return this.#columns
  }

  /**
   * Gives the snapshot columns for one more user (the base model, null, needs none); false when others use too many of
   * them. Release it as often.
   */
  acquire(snapshot: AdapterWeights | null): boolean {
    const wanted = snapshot?.layout.rank ?? 0
    if (this.#users === 0 && this.#columns > columnsFor(wanted)) this.#restart(columnsFor(wanted))
    if (snapshot) {
      const place = this.#places.get(snapshot.hash) ?? this.#settle(snapshot)
      if (!place) return false
      place.users++
      place.used = ++this.#clock
    }
    this.#users++
    return true
  }

  release(snapshot: AdapterWeights | null): void {
    const place = snapshot && this.#places.get(snapshot.hash)
    if (place) place.users--
    this.#users--
  }

  /** [rows, columns] booleans: which columns count for a row whose adapter is `hash`, null for the base model. */
  mask(hashes: readonly (string | null)[]): Feed {
    const data = new Uint8Array(hashes.length * this.#columns)
    hashes.forEach((hash, row) => {
      const place = hash === null ? undefined : this.#places.get(hash)
      if (place) data.fill(1, row * this.#columns + place.first, row * this.#columns + place.first + place.rank)
    })
    return { data, dims: [hashes.length, this.#columns] }
  }

  /** The inputs of the body, or those of the head. */
  feeds(part: 'body' | 'head'): Record<string, Feed> {
    const feeds: Record<string, Feed> = {}
    for (const stack of this.#stacks) {
      if (stack.name.startsWith('unembed') === (part === 'head')) {
        feeds[stack.name] = { data: stack.data, dims: stack.dims(this.#columns) }
      }
    }
    return feeds
  }

  #settle(snapshot: AdapterWeights): Place | undefined {
    const { rank } = snapshot.layout
    const first = this.#gap(rank) ?? this.#evict(rank) ?? this.#grow(rank)
    if (first === undefined) return undefined
    const place = { first, rank, users: 0, used: 0 }
    for (const stack of this.#stacks) clear(stack, this.#columns, place)
    for (const section of snapshot.layout.sections) this.#write(snapshot, section, place)
    this.#places.set(snapshot.hash, place)
    return place
  }

  /** More columns cost time in every step, so those of busier days are given up when nobody samples. */
  #restart(columns: number): void {
    this.#places.clear()
    this.#columns = columns
    for (const stack of this.#stacks) stack.data = new Float32Array(elements(stack, columns))
  }

  /** First column of the first gap of this width. */
  #gap(width: number): number | undefined {
    let first = 0
    for (const place of [...this.#places.values()].sort((a, b) => a.first - b.first)) {
      if (place.first - first >= width) return first
      first = place.first + place.rank
    }
    return this.#columns - first >= width ? first : undefined
  }

  #grow(width: number): number | undefined {
    const end = Math.max(0, ...[...this.#places.values()].map((p) => p.first + p.rank))
    if (end + width > MAX_COLUMNS) return undefined
    const columns = columnsFor(end + width)
    for (const stack of this.#stacks) widen(stack, this.#columns, columns)
    this.#columns = columns
    return this.#gap(width)
  }

  /** Forgets idle adapters, the longest unused first, until there is a gap. */
  #evict(width: number): number | undefined {
    const idle = [...this.#places].filter(([, place]) => place.users === 0).sort(([, a], [, b]) => a.used - b.used)
    for (const [hash] of idle) {
      this.#places.delete(hash)
      const first = this.#gap(width)
      if (first !== undefined) return first
    }
    return undefined
  }

  #write({ layout, params, alpha }: AdapterWeights, section: Section, { first }: Place): void {
    const { rank } = layout
    const group = STACK_GROUPS.find((g) => g.includes(section.projection)) as readonly Projection[]
    const a = this.#stack(stackName(group))
    const b = this.#stack(`${section.projection}.B`)
    const slot = group.indexOf(section.projection)
    const scale = alpha / rank
    for (let layer = 0; layer < section.layers; layer++) {
      for (let r = 0; r < rank; r++) {
        const row = section.a + (layer * rank + r) * section.in
        for (let block = 0; block < a.outer; block++) {
          const values = params.subarray(row + block * BLOCK, row + Math.min((block + 1) * BLOCK, section.in))
          a.data.set(values, at(a, this.#columns, layer, block, slot, first + r))
        }
        const from = section.b + (layer * rank + r) * section.out
        const to = at(b, this.#columns, layer, 0, 0, first + r)
        for (let i = 0; i < section.out; i++) b.data[to + i] = scale * (params[from + i] as number)
      }
    }
  }

  #stack(name: string): Stack {
    return this.#stacks.find((s) => s.name === name) as Stack
  }
}

function aStack(model: DecoderShape, group: readonly Projection[]): Stack {
  const { layers, in: inputs } = projectionShape(model, group[0] as Projection)
  const outer = Math.ceil(inputs / BLOCK)
  const slots = group.length
  return {
    name: stackName(group),
    dims: (columns) => [layers, outer, slots * columns, BLOCK],
    layers,
    outer,
    slots,
    inner: BLOCK,
    data: new Float32Array(),
  }
}

function bStack(model: DecoderShape, projection: Projection): Stack {
  const { layers, out } = projectionShape(model, projection)
  const dims = (columns: number) => [layers, columns, out]
  return { name: `${projection}.B`, dims, layers, outer: 1, slots: 1, inner: out, data: new Float32Array() }
}

const columnsFor = (width: number) =>
  Math.min(MAX_COLUMNS, COLUMN_STEP * 2 ** Math.ceil(Math.log2(Math.max(1, width / COLUMN_STEP))))

const elements = (stack: Stack, columns: number) => stack.layers * stack.outer * stack.slots * columns * stack.inner

function at(stack: Stack, columns: number, layer: number, outer: number, slot: number, column: number): number {
  return (((layer * stack.outer + outer) * stack.slots + slot) * columns + column) * stack.inner
}

/** Calls with the offset of column `column` in each layer, block and slot. */
function eachSlot(stack: Stack, columns: number, column: number, visit: (offset: number) => void): void {
  const step = columns * stack.inner
  const end = elements(stack, columns)
  for (let offset = column * stack.inner; offset < end; offset += step) visit(offset)
}

function clear(stack: Stack, columns: number, { first, rank }: Place): void {
  eachSlot(stack, columns, first, (offset) => stack.data.fill(0, offset, offset + rank * stack.inner))
}

function widen(stack: Stack, from: number, to: number): void {
  const data = new Float32Array(elements(stack, to))
  const width = from * stack.inner
  let source = 0
  eachSlot(stack, to, 0, (offset) => {
    data.set(stack.data.subarray(source, source + width), offset)
    source += width
  })
  stack.data = data
}
