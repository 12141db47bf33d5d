// Matrix products of the sampling graphs: with the base weights, between computed values, and with the adapters of many
// tenants side by side. Knows operators and shapes; which columns are whose is adapter-stacks.ts.
//
// The bits of a row never depend on its company. What that takes of a CPU matmul in onnxruntime:
// - base weights are constants of a prepacking session: such matmuls give the same bits for any number of rows;
// - every other matmul has alpha != 1 (a power of two that is undone elsewhere, or the attention scale): with alpha = 1
//   a lone row or a lone column takes another kernel, with other rounding;
// - every other matmul sums over at most 128 values at once, longer sums (adapters' A, keys) are cut into blocks of 64,
//   because how a longer sum is blocked depends on how the columns are split between threads;
// - what a row must not see (masked keys, other adapters' columns) adds exact zeros at fixed places.

import type { Projection } from './adapter-layout.ts'
import { type Graph, MICROSOFT } from './onnx.ts'

/** Longest sum inside one matmul that is not prepacked, and the unit of cache capacity. */
export const BLOCK = 64
/** Adapter columns come in multiples of this, so that no kernel meets a ragged edge, up to MAX_COLUMNS. */
export const COLUMN_STEP = 16
export const MAX_COLUMNS = 128
/** Projections that read the same values share one A. B of each is separate. */
export const STACK_GROUPS: readonly (readonly Projection[])[] = [
  ['q', 'k', 'v'],
  ['o'],
  ['gate', 'up'],
  ['down'],
  ['unembed'],
]
export const stackName = (group: readonly Projection[]) => `${group.join('.')}.A`

/** x [1, M, K] times the transpose of a constant w [N, K]. */
export function linear(g: Graph, x: string, w: string): string {
  return g.node('FusedMatMul', [x, w], { transB: 1, alpha: { float: 1 } }, MICROSOFT)
}

/** A matmul of two computed or fed values; `alpha` must not be 1 (see above). */
export function product(g: Graph, a: string, b: string, alpha: number, transB = 0): string {
  return g.node('FusedMatMul', [a, b], { transB, alpha: { float: alpha } }, MICROSOFT)
}

/** The low-rank terms of projections that share their input: per token, only the columns of its own adapter count. */
export class LowRank {
  readonly #graph: Graph
  readonly #inputs: number
  readonly #members: number
  readonly #a: readonly string[]
  readonly #b: readonly (readonly string[])[]
  readonly #mask: string

  /** `mask` [M, C]. */
  constructor(
    g: Graph,
    group: readonly Projection[],
    layers: number,
    inputs: number,
    outputs: readonly number[],
    mask: string,
  ) {
    const blocks = Math.ceil(inputs / BLOCK)
    const perLayer = (name: string, dims: readonly (number | string)[]) => {
      const stack = g.input(name, 'float32', [layers, ...dims])
      return layers === 1 ? [stack] : g.nodes('Split', [stack], { axis: 0, num_outputs: layers }, layers)
    }
    this.#graph = g
    this.#inputs = inputs
    this.#members = group.length
    this.#a = perLayer(stackName(group), [blocks, `${group.length}C`, BLOCK])
    this.#b = group.map((projection, i) => perLayer(`${projection}.B`, ['C', outputs[i] as number]))
    this.#mask = group.length === 1 ? mask : g.node('Concat', Array(group.length).fill(mask), { axis: 1 })
  }

  /** x [1, M, inputs] -> [1, M, outputs[i]] for each projection of the group. */
  apply(x: string, layer: number): string[] {
    const g = this.#graph
    const missing = (BLOCK - (this.#inputs % BLOCK)) % BLOCK
    const whole = missing ? g.node('Pad', [x, g.ints(0, 0, 0, 0, 0, missing)]) : x
    const blocks = g.node('Reshape', [whole, g.ints(-1, (this.#inputs + missing) / BLOCK, BLOCK)])
    const partial = product(g, g.node('Transpose', [blocks], { perm: [1, 0, 2] }), this.#a[layer] as string, 0.5, 1)
    const low = g.node('ReduceSum', [partial, g.ints(0, 1)], { keepdims: 0 })
    // Not a multiplication: another tenant's column may hold anything, and 0 * NaN is NaN.
    const own = g.node('Where', [this.#mask, low, g.floats('float32', [], [0])])
    const parts =
      this.#members === 1 ? [own] : g.nodes('Split', [own], { axis: 1, num_outputs: this.#members }, this.#members)
    return parts.map((part, i) => product(g, part, this.#b[i]?.[layer] as string, 2))
  }
}
