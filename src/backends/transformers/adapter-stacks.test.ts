import { describe, expect, it } from 'vitest'
import type { AdapterWeights } from './adapter.ts'
import { adapterLayout, PROJECTIONS, type Projection } from './adapter-layout.ts'
import { AdapterStacks } from './adapter-stacks.ts'

const MODEL = { hidden: 70, intermediate: 40, layers: 2, heads: 2, kvHeads: 1, headDim: 8, vocabulary: 30 }

function snapshot(hash: string, rank: number, projections: readonly Projection[] = PROJECTIONS): AdapterWeights {
  const layout = adapterLayout(MODEL, projections, rank)
  const offset = hash.charCodeAt(0) * 100_000
  return { layout, params: Float32Array.from({ length: layout.size }, (_, i) => offset + i), alpha: 2 * rank, hash }
}

/** Columns that the mask gives an adapter. */
function columnsOf(stacks: AdapterStacks, hash: string | null): number[] {
  const { data } = stacks.mask([null, hash])
  const row = [...data.subarray(stacks.columns)] as number[]
  return row.flatMap((set, column) => (set ? [column] : []))
}

/** Row `rank` of A of a projection, read back from a stack [L, blocks, members * C, 64]. */
function readA(stacks: AdapterStacks, name: string, slot: number, layer: number, column: number): number[] {
  const { data, dims } = stacks.feeds('body')[name] as { data: Float32Array; dims: number[] }
  const [, blocks = 0, width = 0] = dims
  return Array.from({ length: blocks }, (_, block) => {
    const start = ((layer * blocks + block) * width + slot * stacks.columns + column) * 64
    return [...data.subarray(start, start + 64)]
  }).flat()
}

describe('AdapterStacks', () => {
  it('puts each adapter in columns of its own, in the layout of the graphs', () => {
    const stacks = new AdapterStacks(MODEL)
    const a = snapshot('a', 3)
    const b = snapshot('b', 2, ['k', 'down'])
    expect(stacks.acquire(a)).toBe(true)
    expect(stacks.acquire(b)).toBe(true)
    expect(columnsOf(stacks, 'a')).toEqual([0, 1, 2])
    expect(columnsOf(stacks, 'b')).toEqual([3, 4])
    expect(columnsOf(stacks, null)).toEqual([])

    const k = b.layout.sections.find((s) => s.projection === 'k')
    const from = (k?.a ?? 0) + (1 * 2 + 1) * 70
    // Layer 1, rank row 1, k is the second member of its group; 70 inputs end in the middle of the second block.
    expect(readA(stacks, 'q.k.v.A', 1, 1, 4)).toEqual([...b.params.subarray(from, from + 70), ...Array(58).fill(0)])
    expect(readA(stacks, 'q.k.v.A', 0, 1, 4)).toEqual(Array(128).fill(0))

    const { data, dims } = stacks.feeds('body')['k.B'] as { data: Float32Array; dims: number[] }
    expect(dims).toEqual([2, 16, 8])
    const rowB = (k?.b ?? 0) + (1 * 2 + 1) * 8
    const scaled = [...b.params.subarray(rowB, rowB + 8)].map((x) => 2 * x)
    expect([...data.subarray((16 + 4) * 8, (16 + 4) * 8 + 8)]).toEqual(scaled)
    expect(Object.keys(stacks.feeds('head')).sort()).toEqual(['unembed.A', 'unembed.B'])
  })

  it('shares the columns of equal snapshots and keeps those of idle ones', () => {
    const stacks = new AdapterStacks(MODEL)
    const a = snapshot('a', 8)
    stacks.acquire(a)
    stacks.acquire(snapshot('a', 8))
    stacks.release(a)
    stacks.release(a)
    stacks.acquire(snapshot('b', 8))
    expect(columnsOf(stacks, 'a')).toHaveLength(8)
    expect(stacks.columns).toBe(16)
  })

  it('gives idle columns, the longest unused first, to who needs them', () => {
    const stacks = new AdapterStacks(MODEL)
    for (const name of ['a', 'b']) stacks.acquire(snapshot(name, 8))
    for (const name of ['b', 'a']) stacks.release(snapshot(name, 8))
    stacks.acquire(null)
    stacks.acquire(snapshot('c', 8))
    expect(columnsOf(stacks, 'a')).toEqual([])
    expect(columnsOf(stacks, 'b')).toHaveLength(8)
    expect(stacks.columns).toBe(16)
    // The columns carry nothing of their former owner where the new one has nothing.
    stacks.release(snapshot('c', 8))
    stacks.acquire(snapshot('d', 8, ['q']))
    const [first = 0] = columnsOf(stacks, 'd')
    expect(readA(stacks, 'o.A', 0, 0, first)).toEqual(Array(64).fill(0))
  })

  it('grows to 128 columns with all contents, then says no', () => {
    const stacks = new AdapterStacks(MODEL)
    const a = snapshot('a', 3)
    stacks.acquire(a)
    const before = readA(stacks, 'gate.up.A', 1, 1, 2)
    for (const name of ['b', 'c', 'd']) expect(stacks.acquire(snapshot(name, 40))).toBe(true)
    expect(stacks.columns).toBe(128)
    expect(readA(stacks, 'gate.up.A', 1, 1, 2)).toEqual(before)
    expect(columnsOf(stacks, 'a')).toEqual([0, 1, 2])
    expect(stacks.acquire(snapshot('e', 8))).toBe(false)
    stacks.release(snapshot('d', 40))
    expect(stacks.acquire(snapshot('e', 8))).toBe(true)
  })

  it('gives up the columns of busier days when nobody samples', () => {
    const stacks = new AdapterStacks(MODEL)
    for (const name of ['a', 'b', 'c']) stacks.acquire(snapshot(name, 30))
    expect(stacks.columns).toBe(128)
    for (const name of ['a', 'b', 'c']) stacks.release(snapshot(name, 30))
    stacks.acquire(snapshot('b', 30))
    expect(stacks.columns).toBe(32)
    expect(columnsOf(stacks, 'b')).toHaveLength(30)
  })
})
