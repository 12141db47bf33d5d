// Causal attention over packed sequences. The tokens of a batch are cut into spans, each a run of whole sequences, and all
// spans are computed as one batch of equal, padded squares: how many and how long they are is data. Knows spans and masks;
// knows nothing of tenants or layers.

import type { Autodiff, Value } from './autodiff.ts'

export interface AttentionShape {
  readonly heads: number
  readonly kvHeads: number
  readonly headDim: number
}

/** Where tokens are in spans, and what they see there. B spans of S places. */
export interface Spans {
  /** [B, S]: the token in each place; padding holds any token, sees itself alone and is seen by nobody else. */
  readonly layout: Value
  /** [T]: the place of each token in the flattened [B * S]. */
  readonly place: Value
  /** [B, 1, groups * S, S]. */
  readonly visible: Value
}

/** Declares the inputs `layout`, `first` [B, S], the first place in its span that a token sees, and `place` [T]. */
export function attentionSpans(ad: Autodiff, groups: number): Spans {
  const { graph } = ad
  const layout = graph.input('layout', 'int64', ['B', 'S'])
  const first = graph.input('first', 'int64', ['B', 'S'])
  const size = ad.op('Squeeze', [ad.op('Shape', [layout], { start: 1 })])
  const index = ad.op('Range', [graph.int(0), size, graph.int(1)])
  const started = ad.op('GreaterOrEqual', [index, ad.op('Unsqueeze', [first, graph.ints(2)])])
  const past = ad.op('LessOrEqual', [index, ad.op('Unsqueeze', [index, graph.ints(1)])])
  const square = ad.op('Unsqueeze', [ad.op('And', [started, past]), graph.ints(1)])
  const visible = groups === 1 ? square : ad.op('Concat', Array<Value>(groups).fill(square), { axis: 2 })
  return { layout, place: graph.input('place', 'int64', ['T']), visible }
}

/** x [T, width] laid out in spans [B, S, width]. Gradients of padding lead nowhere. */
export function toSpans(ad: Autodiff, x: Value, { layout, place }: Spans, width: number): Value {
  return ad.record(ad.op('Gather', [x, layout]), [x], (g) =>
    ad.accumulate(x, () => ad.op('Gather', [ad.op('Reshape', [g, ad.graph.ints(-1, width)]), place])),
  )
}

/** The inverse: x [B, S, width] to [T, width]. */
export function fromSpans(ad: Autodiff, x: Value, { layout, place }: Spans, width: number): Value {
  const flat = ad.op('Reshape', [x, ad.graph.ints(-1, width)])
  // Padding gets some token's gradient: as it reaches nothing but padding again, it need not be zero.
  return ad.record(ad.op('Gather', [flat, place]), [x], (g) => ad.accumulate(x, () => ad.op('Gather', [g, layout])))
}

/** Grouped-query attention: q [B, heads, S, D], k and v [B, kvHeads, S, D]; gives [B, heads, S, D]. */
export function attention(
  ad: Autodiff,
  q: Value,
  k: Value,
  v: Value,
  { heads, kvHeads, headDim }: AttentionShape,
  { visible }: Spans,
): Value {
  const { graph } = ad
  const alpha = 1 / Math.sqrt(headDim)
  // Queries that share a key head become rows of one matrix [groups * S, D].
  const grouped = (x: Value) => (heads === kvHeads ? x : ad.op('Reshape', [x, graph.ints(0, kvHeads, -1, headDim)]))
  const byHead = (x: Value) => (heads === kvHeads ? x : ad.op('Reshape', [x, graph.ints(0, heads, -1, headDim)]))

  const rows = grouped(q)
  const scores = ad.multiply(rows, k, { transB: 1, alpha })
  // Selected, not added to: a huge score of a stranger's key must not outweigh the mask.
  const p = ad.op('Softmax', [ad.op('Where', [visible, scores, ad.scalar(-Infinity)])], { axis: -1 })
  const out = ad.multiply(p, v)
  return ad.record(byHead(out), [q, k, v], (g) => {
    const go = grouped(g)
    const delta = ad.rowSum(ad.op('Mul', [go, out]))
    const ds = ad.op('Mul', [p, ad.op('Sub', [ad.multiply(go, v, { transB: 1 }), delta])])
    ad.accumulate(q, () => byHead(ad.multiply(ds, k, { alpha })))
    ad.accumulate(k, () => ad.multiply(ds, rows, { transA: 1, alpha }))
    ad.accumulate(v, () => ad.multiply(p, go, { transA: 1 }))
  })
}
