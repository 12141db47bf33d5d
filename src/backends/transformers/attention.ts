// Causal attention over packed sequences, in blocks of queries. Which keys a block may see is data, so packing and
// lengths need no new graph. Knows ranges and masks; knows nothing of sequences, tenants or layers.

import type { Autodiff, Value } from './autodiff.ts'

export interface AttentionShape {
  readonly heads: number
  readonly kvHeads: number
  readonly headDim: number
}

/** A range of queries, the one range of keys that they can see, and which of these each may see [groups * queries, keys]. */
export interface AttentionBlock {
  readonly queries: readonly [Value, Value]
  readonly keys: readonly [Value, Value]
  readonly visible: Value
  /** Padding that puts a block's key gradients back in their place; absent when the block is everything. */
  readonly pad?: Value
}

/**
 * Blocks from the inputs `blocks` [count, 4], rows of [query from, to, key from, to] whose query ranges follow each other
 * and cover all of T, and `from` [T], the first key that a token sees; the last one is itself.
 */
export function attentionBlocks(ad: Autodiff, tokens: Value, count: number, groups: number): AttentionBlock[] {
  const { graph } = ad
  const from = graph.input('from', 'int64', ['T'])
  const total = ad.op('Shape', [tokens])
  const index = ad.op('Range', [graph.int(0), ad.op('Squeeze', [total]), graph.int(1)])
  const visible = (queries: (x: Value) => Value, keys: Value) => {
    const column = (x: Value) => ad.op('Unsqueeze', [queries(x), graph.ints(1)])
    const started = ad.op('GreaterOrEqual', [keys, column(from)])
    const past = ad.op('LessOrEqual', [keys, column(index)])
    return ad.op('Concat', Array<Value>(groups).fill(ad.op('And', [started, past])), { axis: 0 })
  }
  const zero = graph.ints(0)
  if (count === 1) return [{ queries: [zero, total], keys: [zero, total], visible: visible((x) => x, index) }]
  const ranges = graph.input('blocks', 'int64', [count, 4])
  return Array.from({ length: count }, (_, i) => {
    const row = ad.op('Gather', [ranges, graph.int(i)])
    const [q0, q1, k0, k1] = graph.nodes('Split', [row], { axis: 0, num_outputs: 4 }, 4) as [Value, Value, Value, Value]
    const after = ad.op('Sub', [total, k1])
    return {
      queries: [q0, q1],
      keys: [k0, k1],
      visible: visible((x) => ad.slice(x, 0, q0, q1), ad.slice(index, 0, k0, k1)),
      pad: ad.op('Concat', [zero, k0, zero, zero, after, zero], { axis: 0 }),
    }
  })
}

/** Grouped-query attention: q [heads, T, D], k and v [kvHeads, T, D], heads in kv-major order; gives [heads, T, D]. */
export function attention(
  ad: Autodiff,
  q: Value,
  k: Value,
  v: Value,
  { heads, kvHeads, headDim }: AttentionShape,
  blocks: readonly AttentionBlock[],
): Value {
  const { graph } = ad
  const alpha = 1 / Math.sqrt(headDim)
  const whole = blocks.length === 1
  const grouped = (x: Value) => ad.op('Reshape', [x, graph.ints(kvHeads, heads / kvHeads, -1, headDim)])
  const flat = (x: Value) => ad.op('Reshape', [x, graph.ints(kvHeads, -1, headDim)])
  /** The block's rows of x [heads, T, D] as [kvHeads, groups * rows, D]. */
  const rows = (x: Value) => {
    if (whole) return () => flat(x)
    const byGroup = grouped(x)
    return ({ queries }: AttentionBlock) => flat(ad.slice(byGroup, 2, ...queries))
  }
  const keyRows = (x: Value, { keys }: AttentionBlock) => (whole ? x : ad.slice(x, 1, ...keys))
  const join = (parts: readonly Value[]) =>
    ad.op('Reshape', [
      whole ? (parts[0] as Value) : ad.op('Concat', parts.map(grouped), { axis: 2 }),
      graph.ints(heads, -1, headDim),
    ])
  const inPlace = (x: Value, { pad }: AttentionBlock) => (pad === undefined ? x : ad.op('Pad', [x, pad]))

  const queryRows = rows(q)
  const saved = blocks.map((block) => {
    const qb = queryRows(block)
    const kb = keyRows(k, block)
    const vb = keyRows(v, block)
    const scores = ad.multiply(qb, kb, { transB: 1, alpha })
    // Selected, not added to: a huge score of a stranger's key must not outweigh the mask.
    const masked = ad.op('Where', [block.visible, scores, ad.scalar(-Infinity)])
    const p = ad.op('Softmax', [masked], { axis: -1 })
    return { block, qb, kb, vb, p, out: ad.multiply(p, vb) }
  })
  return ad.record(join(saved.map((s) => s.out)), [q, k, v], (g) => {
    const gradientRows = rows(g)
    const parts = saved.map(({ block, qb, kb, vb, p, out }) => {
      const go = gradientRows(block)
      const delta = ad.rowSum(ad.op('Mul', [go, out]))
      const ds = ad.op('Mul', [p, ad.op('Sub', [ad.multiply(go, vb, { transB: 1 }), delta])])
      return { block, qb, kb, p, go, ds }
    })
    ad.accumulate(q, () => join(parts.map(({ ds, kb }) => ad.multiply(ds, kb, { alpha }))))
    ad.accumulate(k, () =>
      ad.sum(parts.map(({ block, ds, qb }) => inPlace(ad.multiply(ds, qb, { transA: 1, alpha }), block))),
    )
    ad.accumulate(v, () => ad.sum(parts.map(({ block, p, go }) => inPlace(ad.multiply(p, go, { transA: 1 }), block))))
  })
}
