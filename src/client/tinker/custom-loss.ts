// Losses of the caller's own. Any loss C of the log-probabilities has the gradient of a cross-entropy whose weights are
// -dC/dlogprob (Tinker's forward_backward_custom): one forward pass gives the log-probabilities, the caller gives loss and
// gradients, one backward pass takes the weights. Here is what comes between the two passes.

import { TinkerError } from './errors.ts'
import { LossGraph, type LossOutcome, type LossValue } from './loss-graph.ts'
import { type Tensor, toDense } from './tensors.ts'
import type { Datum, ForwardBackwardOutput } from './types.ts'

export interface CustomLossValue {
  /** Of all data together. */
  readonly loss: number
  /** dloss/dlogprob, an array a datum, in the order and of the length of the log-probabilities. */
  readonly gradients: readonly ArrayLike<number>[]
  /** Joined to the metrics of the result as they are. */
  readonly metrics?: Readonly<Record<string, number>>
}

/**
 * `logprobs[i]` are the log-probabilities of the targets of `data[i]`, row-major in the targets' shape. Computed here, in the
 * caller's process; the gradients are the caller's, by hand or from `createCustomLoss`.
 */
export type CustomLoss = (
  data: readonly Datum[],
  logprobs: readonly Float32Array[],
) => CustomLossValue | Promise<CustomLossValue>

/** 0: a scalar; 1: [T]; 2: [T, K]. */
export type InputRank = 0 | 1 | 2

/** A loss by operations on tensors, traced once. Metrics are named `custom/NAME:sum` or `custom/NAME:mean`. */
export type TracedLoss<Names extends string = string> = (inputs: Readonly<Record<Names, LossValue>>) => {
  readonly loss: LossValue
  readonly metrics?: Readonly<Record<string, LossValue>>
}

/** A loss that `createCustomLoss` made; only clients of its session may use it. */
export interface LossHandle {
  readonly name: string
  readonly inputs: readonly { readonly name: string; readonly rank: InputRank }[]
  readonly sessionId: string
  readonly graph: LossGraph
  /** The server's, when it runs the loss itself. */
  readonly lossId: string | undefined
}

const INPUT_NAME = /^[a-z_][a-z0-9_]{0,63}$/
const METRIC_NAME = /^custom\/[a-z0-9_./-]{1,64}:(sum|mean)$/
const MOST_INPUTS = 16

/** Throws TinkerError for names that the protocol does not allow. */
export function traceLoss(name: string, loss: TracedLoss, ranks: Readonly<Record<string, InputRank>>) {
  const { logprobs, ...others } = ranks
  if (logprobs !== 1 && logprobs !== 2) throw new TinkerError(`The loss ${name} needs the rank of logprobs: 1 or 2.`)
  const names = ['logprobs', ...Object.keys(others)]
  const bad = names.find((each) => !INPUT_NAME.test(each))
  if (bad !== undefined) throw new TinkerError(`${bad} is no name of a loss input: lower case, digits and underscores.`)
  if (names.length > MOST_INPUTS)
    throw new TinkerError(`A loss has at most ${MOST_INPUTS} inputs, logprobs among them.`)
  const graph = new LossGraph(names, (values) => {
    const { loss: value, metrics = {} } = loss(values)
    const wrong = Object.keys(metrics).find((metric) => !METRIC_NAME.test(metric))
    if (wrong !== undefined) throw new TinkerError(`The metric ${wrong} must be custom/NAME:sum or custom/NAME:mean.`)
    return { loss: value, metrics }
  })
  return { graph, inputs: names.map((each) => ({ name: each, rank: ranks[each]! })) }
}

/** Throws TinkerError unless every datum has each input of the loss, with its rank. */
export function checkLossInputs({ name, inputs }: LossHandle, data: readonly Datum[]): void {
  for (const [index, { lossFnInputs }] of data.entries()) {
    for (const input of inputs) {
      const key = input.name === 'logprobs' ? 'target_tokens' : input.name
      const value = lossFnInputs[key]
      if (value === undefined) throw new TinkerError(`Datum ${index} has no ${key}, which the loss ${name} takes.`)
      const rank = 'dtype' in value ? (value.shape?.length ?? 1) : 1
      if (rank !== input.rank) {
        throw new TinkerError(`${key} of datum ${index} has rank ${rank}; the loss ${name} takes ${input.rank}.`)
      }
    }
  }
}

/** The loss as one that is computed here. */
export function localLoss({ name, inputs, graph }: LossHandle): CustomLoss {
  return (data, logprobs) => {
    const outcomes = data.map((datum, index): LossOutcome => {
      const others = inputs.slice(1).map((input) => dense(datum.lossFnInputs[input.name]!))
      try {
        return graph.run([Float64Array.from(logprobs[index]!), ...others])
      } catch (cause) {
        throw new TinkerError(`The loss ${name} cannot be computed of datum ${index}: ${(cause as Error).message}.`, {
          cause,
        })
      }
    })
    const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0)
    const metrics = Object.keys(outcomes[0]?.metrics ?? {}).map((key) => {
      const total = sum(outcomes.map((outcome) => outcome.metrics[key]!))
      return [key, key.endsWith(':mean') ? total / outcomes.length : total] as const
    })
    return {
      loss: sum(outcomes.map((outcome) => outcome.loss)),
      gradients: outcomes.map((outcome) => outcome.gradient),
      metrics: Object.fromEntries(metrics),
    }
  }
}

function dense(value: Datum['lossFnInputs'][string]): Float64Array {
  return 'dtype' in value ? toDense(value as Tensor) : Float64Array.from(value)
}

/** The data of the forward pass: what a cross-entropy takes, weights of 0 where there are none. Throws TinkerError. */
export function forwardData(data: readonly Datum[]): Datum[] {
  return data.map((datum, index) => {
    const { target_tokens: targets, weights } = datum.lossFnInputs
    if (targets === undefined) throw new TinkerError(`Datum ${index} has no target_tokens, which a custom loss needs.`)
    return { ...datum, lossFnInputs: { weights: weights ?? weightsLike(targets, []), target_tokens: targets } }
  })
}

/** The data of the backward pass: minus the gradients as weights. Throws TinkerError for gradients that do not fit. */
export function backwardData(data: readonly Datum[], output: ForwardBackwardOutput, value: CustomLossValue): Datum[] {
  if (value.gradients.length !== data.length) {
    throw new TinkerError(`The custom loss gave ${value.gradients.length} gradients for ${data.length} data.`)
  }
  return data.map((datum, index) => {
    const gradient = Array.from(value.gradients[index]!)
    const expected = logprobsOf(output, index).length
    if (gradient.length !== expected) {
      throw new TinkerError(
        `Gradient ${index} of the custom loss has ${gradient.length} numbers instead of ${expected}.`,
      )
    }
    const bad = gradient.findIndex((slope) => !Number.isFinite(slope))
    if (bad >= 0) throw new TinkerError(`Gradient ${index} of the custom loss is ${gradient[bad]} at position ${bad}.`)
    const targets = datum.lossFnInputs.target_tokens!
    const weights = weightsLike(
      targets,
      gradient.map((slope) => -slope),
    )
    return { ...datum, lossFnInputs: { weights, target_tokens: targets } }
  })
}

export function logprobsOf(output: ForwardBackwardOutput, index: number): Float32Array {
  const logprobs = output.lossFnOutputs[index]?.logprobs?.data
  if (!logprobs) throw new TinkerError(`The server sent no log-probabilities of datum ${index}.`)
  return Float32Array.from(logprobs)
}

/** Dense, in the shape of the targets; zeros where no numbers are given. */
function weightsLike(targets: Datum['lossFnInputs'][string], values: readonly number[]): Tensor {
  const shape = 'dtype' in targets ? (targets.shape ?? [targets.data.length]) : [targets.length]
  const size = shape.reduce((product, extent) => product * extent, 1)
  return { data: values.length > 0 ? values : new Float32Array(size), dtype: 'float32', shape }
}
