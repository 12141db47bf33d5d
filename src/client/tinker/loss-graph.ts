// A loss written once and run anywhere: calling it with placeholders records its operations, as torch.fx does for the Python
// SDK. The record goes to a server that runs losses itself, or is computed here with its gradient, for servers that do not.

import type { Schemas } from '../../generated/operations.ts'
import { TinkerError } from './errors.ts'
import {
  BINARY,
  type BinaryName,
  binary,
  clampOp,
  reduction,
  type Step,
  UNARY,
  type UnaryName,
  unary,
} from './loss-ops.ts'

type Node = Schemas['CustomLossNode']
type Operand = LossValue | number

interface Recorded {
  readonly node: Node
  /** Indices of the nodes that it is computed from; numbers stand for themselves. */
  readonly operands: readonly (number | { readonly constant: number })[]
  readonly compute: (values: readonly Float64Array[]) => Step
}

/** A tensor of a loss that is being traced: logprobs, a loss input, or what was computed of them. */
export class LossValue {
  readonly #graph: LossGraph
  readonly index: number

  /** Made by LossGraph. */
  constructor(graph: LossGraph, index: number) {
    this.#graph = graph
    this.index = index
  }

  add = (other: Operand) => this.#with('add', other)
  sub = (other: Operand) => this.#with('sub', other)
  mul = (other: Operand) => this.#with('mul', other)
  div = (other: Operand) => this.#with('truediv', other)
  minimum = (other: LossValue) => this.#with('minimum', other)
  maximum = (other: LossValue) => this.#with('maximum', other)
  neg = () => this.#of('neg')
  exp = () => this.#of('exp')
  log = () => this.#of('log')
  sqrt = () => this.#of('sqrt')
  square = () => this.#of('square')
  abs = () => this.#of('abs')
  sigmoid = () => this.#of('sigmoid')
  tanh = () => this.#of('tanh')
  relu = () => this.#of('relu')
  /** The same numbers, through which no gradient goes. */
  detach = () => this.#of('detach')
  /** Either bound may be undefined. */
  clamp = (min?: number, max?: number) => this.#graph.clamp(this, min, max)
  sum = () => this.#graph.reduce('sum', this)
  mean = () => this.#graph.reduce('mean', this)

  #of(name: UnaryName): LossValue {
    return this.#graph.unary(name, this)
  }

  #with(name: BinaryName, other: Operand): LossValue {
    return this.#graph.binary(name, this, other)
  }
}

/** Names that Python has already: torch.fx puts a number after them. */
const TAKEN_IN_PYTHON = new Set(['sum', 'abs', 'pow', 'min', 'max', 'round'])

export interface LossOutcome {
  readonly loss: number
  readonly metrics: Readonly<Record<string, number>>
  /** By the loss's logprobs. */
  readonly gradient: Float64Array
}

export class LossGraph {
  readonly #recorded: Recorded[] = []
  readonly #names = new Set<string>()
  readonly #inputs: number
  #loss = 0
  #metrics: Readonly<Record<string, number>> = {}

  /** Traces a function of these inputs, the first of which is the logprobs. */
  constructor(
    inputs: readonly string[],
    trace: (values: Readonly<Record<string, LossValue>>) => {
      readonly loss: LossValue
      readonly metrics: Readonly<Record<string, LossValue>>
    },
  ) {
    this.#inputs = inputs.length
    const values = inputs.map((name) => [name, this.#record('placeholder', name, name, [], {}, noStep)] as const)
    const { loss, metrics } = trace(Object.fromEntries(values))
    this.#loss = loss.index
    this.#metrics = Object.fromEntries(Object.entries(metrics).map(([name, value]) => [name, value.index]))
  }

  unary(name: UnaryName, a: LossValue): LossValue {
    const op = UNARY[name]
    const call = op.target.includes('.') ? 'call_function' : 'call_method'
    return this.#record(call, name, op.target, [a], {}, ([value]) => unary(op, value!))
  }

  binary(name: BinaryName, a: LossValue, b: Operand): LossValue {
    const op = BINARY[name]
    return this.#record('call_function', name, op.target, [a, b], {}, ([x, y]) => binary(op, x!, y!))
  }

  clamp(a: LossValue, min: number | undefined, max: number | undefined): LossValue {
    const op = clampOp(min, max)
    const bounds = {
      ...(min === undefined ? {} : { min: number(min) }),
      ...(max === undefined ? {} : { max: number(max) }),
    }
    return this.#record('call_method', 'clamp', 'clamp', [a], bounds, ([value]) => unary(op, value!))
  }

  reduce(name: 'sum' | 'mean', a: LossValue): LossValue {
    return this.#record('call_method', name, name, [a], {}, ([value]) => reduction(name, value!))
  }

  /** Node for node, in the form of `create_custom_loss`. */
  get wire(): Schemas['CreateCustomLossRequest']['graph'] {
    const ref = (index: number) => ({ ref: this.#recorded[index]!.node.name })
    const metrics = Object.entries(this.#metrics).map(([name, index]) => [name, ref(index)])
    const args = [{ tuple: [ref(this.#loss), { dict: Object.fromEntries(metrics) }] }]
    const output: Node = { op: 'output', name: 'output', target: 'output', args, kwargs: {} }
    return { format: 1, nodes: [...this.#recorded.map(({ node }) => node), output] }
  }

  /** Loss, metrics and gradient for one datum. Throws RangeError when shapes do not fit, or the loss is no scalar. */
  run(inputs: readonly Float64Array[]): LossOutcome {
    const steps: Step[] = []
    for (const { operands, compute } of this.#recorded) {
      const values = operands.map((each) =>
        typeof each === 'number' ? steps[each]!.value : Float64Array.of(each.constant),
      )
      steps.push(steps.length < this.#inputs ? { ...noStep(), value: inputs[steps.length]! } : compute(values))
    }
    const loss = scalar('the loss', steps[this.#loss]!.value)
    const metrics = Object.entries(this.#metrics).map(
      ([name, index]) => [name, scalar(name, steps[index]!.value)] as const,
    )
    return { loss, metrics: Object.fromEntries(metrics), gradient: this.#gradient(steps) }
  }

  #gradient(steps: readonly Step[]): Float64Array {
    const slopes = steps.map(({ value }) => new Float64Array(value.length))
    slopes[this.#loss]![0] = 1
    for (let index = this.#loss; index >= this.#inputs; index--) {
      const given = steps[index]!.back(slopes[index]!)
      for (const [place, operand] of this.#recorded[index]!.operands.entries()) {
        if (typeof operand !== 'number') continue
        const total = slopes[operand]!
        for (const [i, slope] of given[place]!.entries()) total[i]! += slope
      }
    }
    return slopes[0]!
  }

  #record(
    op: Node['op'],
    name: string,
    target: string,
    args: readonly Operand[],
    kwargs: Node['kwargs'],
    compute: Recorded['compute'],
  ): LossValue {
    const operands = args.map((arg) => (typeof arg === 'number' ? { constant: arg } : arg.index))
    const encoded = args.map((arg) =>
      typeof arg === 'number' ? number(arg) : { ref: this.#recorded[arg.index]!.node.name },
    )
    const unique = op === 'placeholder' ? name : this.#uniqueName(name)
    this.#names.add(unique)
    this.#recorded.push({ node: { op, name: unique, target, args: encoded, kwargs }, operands, compute })
    return new LossValue(this, this.#recorded.length - 1)
  }

  #uniqueName(name: string): string {
    if (!TAKEN_IN_PYTHON.has(name) && !this.#names.has(name)) return name
    for (let count = 1; ; count++) if (!this.#names.has(`${name}_${count}`)) return `${name}_${count}`
  }
}

function noStep(): Step {
  return { value: new Float64Array(0), back: () => [] }
}

function scalar(what: string, value: Float64Array): number {
  if (value.length !== 1) throw new RangeError(`${what} has ${value.length} numbers; reduce it with sum() or mean()`)
  return value[0]!
}

/** JSON has no infinities. */
function number(value: number): number | { float: string } {
  if (Number.isNaN(value)) throw new TinkerError('A traced loss has NaN as a constant.')
  return Number.isFinite(value) ? value : { float: value > 0 ? 'inf' : '-inf' }
}
