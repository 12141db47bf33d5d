// The operations that a traced loss is made of: what each computes, its slopes, and what PyTorch calls it. Tensors are flat
// float64 arrays; one of length 1 goes with any other, as a scalar does.

export interface UnaryOp {
  readonly target: string
  readonly f: (a: number) => number
  /** Slope at `a`, where `f(a)` is `y`. */
  readonly slope: (a: number, y: number) => number
}

export interface BinaryOp {
  readonly target: string
  readonly f: (a: number, b: number) => number
  readonly slopes: (a: number, b: number) => readonly [number, number]
}

/** Methods of a tensor, but for `neg`, which Python's operator is. */
export const UNARY = {
  neg: { target: 'operator.neg', f: (a) => -a, slope: () => -1 },
  exp: { target: 'exp', f: Math.exp, slope: (_, y) => y },
  log: { target: 'log', f: Math.log, slope: (a) => 1 / a },
  sqrt: { target: 'sqrt', f: Math.sqrt, slope: (_, y) => 0.5 / y },
  square: { target: 'square', f: (a) => a * a, slope: (a) => 2 * a },
  abs: { target: 'abs', f: Math.abs, slope: (a) => Math.sign(a) },
  sigmoid: { target: 'sigmoid', f: (a) => 1 / (1 + Math.exp(-a)), slope: (_, y) => y * (1 - y) },
  tanh: { target: 'tanh', f: Math.tanh, slope: (_, y) => 1 - y * y },
  relu: { target: 'relu', f: (a) => Math.max(a, 0), slope: (a) => (a > 0 ? 1 : 0) },
  detach: { target: 'detach', f: (a) => a, slope: () => 0 },
} as const satisfies Readonly<Record<string, UnaryOp>>

/** Where both sides of minimum or maximum are equal, each gets half of the slope, as in PyTorch. */
export const BINARY = {
  add: { target: 'operator.add', f: (a, b) => a + b, slopes: () => [1, 1] },
  sub: { target: 'operator.sub', f: (a, b) => a - b, slopes: () => [1, -1] },
  mul: { target: 'operator.mul', f: (a, b) => a * b, slopes: (a, b) => [b, a] },
  truediv: { target: 'operator.truediv', f: (a, b) => a / b, slopes: (a, b) => [1 / b, -a / (b * b)] },
  minimum: { target: 'torch.minimum', f: Math.min, slopes: (a, b) => picked(b - a) },
  maximum: { target: 'torch.maximum', f: Math.max, slopes: (a, b) => picked(a - b) },
} as const satisfies Readonly<Record<string, BinaryOp>>

export type UnaryName = keyof typeof UNARY
export type BinaryName = keyof typeof BINARY

function picked(lead: number): readonly [number, number] {
  const first = lead > 0 ? 1 : lead === 0 ? 0.5 : 0
  return [first, 1 - first]
}

export function clampOp(min = Number.NEGATIVE_INFINITY, max = Number.POSITIVE_INFINITY): UnaryOp {
  return {
    target: 'clamp',
    f: (a) => Math.min(Math.max(a, min), max),
    slope: (a) => (a >= min && a <= max ? 1 : 0),
  }
}

/** One step of a computation: its value, and what it gives back to the steps before it for a slope of its own. */
export interface Step {
  readonly value: Float64Array
  readonly back: (slope: Float64Array) => readonly Float64Array[]
}

export function unary(op: UnaryOp, a: Float64Array): Step {
  const value = a.map(op.f)
  return { value, back: (slope) => [slope.map((s, i) => (s === 0 ? 0 : s * op.slope(a[i]!, value[i]!)))] }
}

/** Throws RangeError when neither side is a scalar and the lengths differ. */
export function binary(op: BinaryOp, a: Float64Array, b: Float64Array): Step {
  if (a.length !== b.length && a.length !== 1 && b.length !== 1) {
    throw new RangeError(`${op.target} of ${a.length} and ${b.length} numbers`)
  }
  const length = a.length === 1 ? b.length : a.length
  const at = (values: Float64Array, i: number) => values[values.length === 1 ? 0 : i]!
  const value = Float64Array.from({ length }, (_, i) => op.f(at(a, i), at(b, i)))
  const back = (slope: Float64Array) => {
    const slopes = [new Float64Array(a.length), new Float64Array(b.length)] as const
    for (let i = 0; i < length; i++) {
      if (slope[i] === 0) continue
      const [da, db] = op.slopes(at(a, i), at(b, i))
      slopes[0][a.length === 1 ? 0 : i]! += slope[i]! * da
      slopes[1][b.length === 1 ? 0 : i]! += slope[i]! * db
    }
    return slopes
  }
  return { value, back }
}

export function reduction(name: 'sum' | 'mean', a: Float64Array): Step {
  const share = name === 'sum' ? 1 : 1 / a.length
  const total = a.reduce((sum, each) => sum + each, 0)
  return { value: Float64Array.of(total * share), back: ([slope]) => [new Float64Array(a.length).fill(slope! * share)] }
}
