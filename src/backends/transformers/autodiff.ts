// Reverse-mode automatic differentiation while a graph is being written: each operation appends the ONNX nodes of its
// value and leaves a closure on the tape that, given the gradient of that value, appends the nodes of its operands'
// gradients. Knows operators; knows nothing of decoders, adapters or losses.
//
// float64 graphs hold standard operators only: the same model code can then be held against central differences.

import { type Attribute, Graph, MICROSOFT } from './onnx.ts'

export type FloatType = 'float32' | 'float64'
/** The name of a value in the graph. */
export type Value = string

const CAST_TO: Record<FloatType, number> = { float32: 1, float64: 11 }

interface TapeEntry {
  readonly result: Value
  readonly backward: (gradient: Value) => void
}

/** For each row of a batch, which adapter columns are its own: `scale` [T, C] and `mine` = scale is not 0. */
export interface ColumnShare {
  readonly scale: Value
  readonly mine: Value
}

export class Autodiff {
  readonly graph = new Graph()
  readonly type: FloatType
  readonly #exact: boolean
  readonly #tape: TapeEntry[] = []
  readonly #gradients = new Map<Value, Value>()
  readonly #wanted = new Set<Value>()

  constructor(type: FloatType) {
    this.type = type
    this.#exact = type === 'float64'
  }

  op(type: string, inputs: readonly Value[], attributes: Record<string, Attribute> = {}): Value {
    return this.graph.node(type, inputs, attributes)
  }
  scalar(value: number): Value {
    return this.graph.floats(this.type, [], [value])
  }
  cast(x: Value): Value {
    return this.op('Cast', [x], { to: CAST_TO[this.type] })
  }
  sum(values: readonly Value[]): Value {
    return values.reduce((a, b) => this.op('Add', [a, b]))
  }
  /** Sum over the last axis, which stays with size 1. */
  rowSum(x: Value): Value {
    return this.op('ReduceSum', [x, this.graph.ints(-1)], { keepdims: 1 })
  }
  slice(x: Value, axis: number, start: Value, end: Value): Value {
    return this.op('Slice', [x, start, end, this.graph.ints(axis)])
  }
  /** Matrix product with either side transposed; for matrices, or batches of them along the first axis. */
  multiply(a: Value, b: Value, { transA = 0, transB = 0, alpha = 1 } = {}): Value {
    if (!transA && !transB && alpha === 1) return this.op('MatMul', [a, b])
    // Attributes are float32: in a float64 graph most factors must be a multiplication of their own.
    if (this.#exact && Math.fround(alpha) !== alpha) {
      return this.op('Mul', [this.multiply(a, b, { transA, transB }), this.scalar(alpha)])
    }
    return this.graph.node('FusedMatMul', [a, b], { transA, transB, alpha: { float: alpha } }, MICROSOFT)
  }

  // --- the tape ---

  /** Asks for the gradient with respect to `value`. */
  want(value: Value): Value {
    this.#wanted.add(value)
    return value
  }
  wants(value: Value): boolean {
    return this.#wanted.has(value)
  }
  /** `result` was computed from `operands`; `backward` is called with its gradient if any operand wants one. */
  record(result: Value, operands: readonly Value[], backward: (gradient: Value) => void): Value {
    if (operands.some((o) => this.wants(o))) {
      this.#wanted.add(result)
      this.#tape.push({ result, backward })
    }
    return result
  }
  /** Adds to the gradient of `value`, if anybody wants it. */
  accumulate(value: Value, gradient: () => Value): void {
    if (!this.wants(value)) return
    const known = this.#gradients.get(value)
    const more = gradient()
    this.#gradients.set(value, known === undefined ? more : this.op('Add', [known, more]))
  }
  gradient(value: Value): Value | undefined {
    return this.#gradients.get(value)
  }
  /** Walks the tape back from the gradients accumulated so far. */
  backward(): void {
    for (const { result, backward } of this.#tape.splice(0).reverse()) {
      const gradient = this.gradient(result)
      if (gradient !== undefined) backward(gradient)
    }
  }

  // --- operations ---

  add(a: Value, b: Value): Value {
    return this.record(this.op('Add', [a, b]), [a, b], (g) => {
      this.accumulate(a, () => g)
      this.accumulate(b, () => g)
    })
  }
  /** x [T, in] times the transpose of the frozen weight w [out, in]. */
  linear(x: Value, w: Value): Value {
    return this.record(this.multiply(x, w, { transB: 1 }), [x], (g) => this.accumulate(x, () => this.multiply(g, w)))
  }
  /**
   * The low-rank term of a projection: (x A' * scale) B with A [C, in], B [C, out]. `mine` selects instead of multiplying
   * by 0, so that whatever overflows in another tenant's columns is an exact zero here.
   */
  lowRank(x: Value, a: Value, b: Value, share: ColumnShare): Value {
    const own = (columns: Value) =>
      this.op('Where', [share.mine, this.op('Mul', [columns, share.scale]), this.scalar(0)])
    const low = own(this.multiply(x, a, { transB: 1 }))
    return this.record(this.multiply(low, b), [x, a, b], (g) => {
      const dlow = own(this.multiply(g, b, { transB: 1 }))
      this.accumulate(b, () => this.multiply(low, g, { transA: 1 }))
      this.accumulate(a, () => this.multiply(dlow, x, { transA: 1 }))
      this.accumulate(x, () => this.multiply(dlow, a))
    })
  }
  reshape(x: Value, dims: readonly number[], back: readonly number[]): Value {
    const to = (value: Value, shape: readonly number[]) => this.op('Reshape', [value, this.graph.ints(...shape)])
    return this.record(to(x, dims), [x], (g) => this.accumulate(x, () => to(g, back)))
  }
  transpose(x: Value, perm: readonly number[]): Value {
    const inverse = perm.map((_, i) => perm.indexOf(i))
    return this.record(this.op('Transpose', [x], { perm }), [x], (g) =>
      this.accumulate(x, () => this.op('Transpose', [g], { perm: inverse })),
    )
  }
  /** Rows of x [T, H] by index. Every row may be picked once at most: the gradient is put back, not added up. */
  pickRows(x: Value, rows: Value): Value {
    return this.record(this.op('Gather', [x, rows]), [x], (g) =>
      this.accumulate(x, () => {
        const zeros = this.op('Expand', [this.scalar(0), this.op('Shape', [x])])
        return this.op('ScatterND', [zeros, this.op('Unsqueeze', [rows, this.graph.ints(1)]), g])
      }),
    )
  }
  /** x / rms(x) * weight over the last axis. */
  rmsNorm(x: Value, weight: Value, epsilon: number): Value {
    const [y, inverse] = this.#exact ? this.#plainRmsNorm(x, weight, epsilon) : this.#fusedRmsNorm(x, weight, epsilon)
    return this.record(y, [x], (g) =>
      this.accumulate(x, () => {
        const gw = this.op('Mul', [g, weight])
        const mean = this.op('ReduceMean', [this.op('Mul', [gw, x]), this.graph.ints(-1)], { keepdims: 1 })
        const cubed = this.op('Mul', [this.op('Mul', [inverse, inverse]), inverse])
        const pull = this.op('Mul', [x, this.op('Mul', [mean, cubed])])
        return this.op('Sub', [this.op('Mul', [gw, inverse]), pull])
      }),
    )
  }
  #plainRmsNorm(x: Value, weight: Value, epsilon: number): [Value, Value] {
    const mean = this.op('ReduceMean', [this.op('Mul', [x, x]), this.graph.ints(-1)], { keepdims: 1 })
    const inverse = this.op('Reciprocal', [this.op('Sqrt', [this.op('Add', [mean, this.scalar(epsilon)])])])
    return [this.op('Mul', [this.op('Mul', [x, inverse]), weight]), inverse]
  }
  #fusedRmsNorm(x: Value, weight: Value, epsilon: number): [Value, Value] {
    const attributes = { axis: -1, epsilon: { float: epsilon } }
    return this.graph.nodes('SimplifiedLayerNormalization', [x, weight], attributes, 2) as [Value, Value]
  }
  /** Rotary embedding of x [B, heads, S, D] by `positions` [B, S]; its gradient is the rotation by the opposite angle. */
  rotate(x: Value, rotation: Rotation): Value {
    return this.record(this.#turn(x, rotation, rotation.sin), [x], (g) =>
      this.accumulate(x, () => this.#turn(g, rotation, rotation.negativeSin)),
    )
  }
  #turn(x: Value, { positions, cos }: Rotation, sin: Value): Value {
    if (!this.#exact) return this.graph.node('RotaryEmbedding', [x, positions, cos, sin], {}, MICROSOFT)
    const [a, b] = this.graph.nodes('Split', [x], { axis: -1, num_outputs: 2 }, 2) as [Value, Value]
    const ofHeads = (table: Value) => this.op('Unsqueeze', [this.op('Gather', [table, positions]), this.graph.ints(1)])
    const [c, s] = [ofHeads(cos), ofHeads(sin)]
    const first = this.op('Sub', [this.op('Mul', [a, c]), this.op('Mul', [b, s])])
    const second = this.op('Add', [this.op('Mul', [b, c]), this.op('Mul', [a, s])])
    return this.op('Concat', [first, second], { axis: -1 })
  }
  /** silu(gate) * up. */
  swiglu(gate: Value, up: Value): Value {
    const silu = this.#exact
      ? this.op('Mul', [gate, this.op('Sigmoid', [gate])])
      : this.graph.node('QuickGelu', [gate], { alpha: { float: 1 } }, MICROSOFT)
    return this.record(this.op('Mul', [silu, up]), [gate, up], (g) => {
      const s = this.op('Sigmoid', [gate])
      const value = this.op('Mul', [gate, s])
      this.accumulate(up, () => this.op('Mul', [g, value]))
      this.accumulate(gate, () => {
        const slope = this.op('Sub', [this.op('Add', [s, value]), this.op('Mul', [value, s])])
        return this.op('Mul', [this.op('Mul', [g, up]), slope])
      })
    })
  }
}

/** Positions [B, S] and the tables [P, D / 2] that they index. */
export interface Rotation {
  readonly positions: Value
  readonly cos: Value
  readonly sin: Value
  readonly negativeSin: Value
}
