// Refuses training data that cannot be computed, in sentences that name the datum, the tensor and both sizes. The server
// asks before anything is journalled, engines ask again. Knows sizes and limits; knows nothing of graphs.

import { isCatalogueLoss } from '../catalogue/losses/catalogue.ts'
import { WIRE_NAMES } from '../catalogue/losses/loss.ts'
import type { EngineInfo, LossSpec, TrainingDatum } from './backend.ts'
import { engineError } from './engine-errors.ts'
import { type LossInput, lossOf } from './losses.ts'

export type DatumLimits = Pick<EngineInfo, 'vocabulary' | 'maxContext'>

/** Throws EngineError INVALID_INPUT for the first thing wrong with any of the datums. */
export function checkDatums(datums: readonly TrainingDatum[], loss: LossSpec, limits: DatumLimits): void {
  if (datums.length === 0) throw engineError('INVALID_INPUT', 'the request has no datums; give at least one')
  datums.forEach((datum, index) => {
    checkDatum(datum, index, loss, limits)
  })
  const problem = lossOf(loss.name).problemOfAll?.(datums, loss.config)
  if (problem) throw engineError('INVALID_INPUT', `loss ${loss.name}: ${problem}`)
}

/** The same for one datum; `index` is for messages. */
function checkDatum(datum: TrainingDatum, index: number, loss: LossSpec, limits: DatumLimits): void {
  const refuse = (sentence: string): never => {
    throw engineError('INVALID_INPUT', `datum ${index}: ${sentence}`)
  }
  const { tokens, targets, width } = datum
  const { vocabulary, maxContext } = limits
  const length = tokens.length
  if (length === 0) refuse('model_input has no tokens')
  if (length > maxContext) refuse(`model_input has ${length} tokens, but the model's context is ${maxContext}`)
  const badToken = tokens.findIndex((t) => t < 0 || t >= vocabulary)
  if (badToken >= 0) {
    refuse(`token ${tokens[badToken]} at position ${badToken} is not in the vocabulary of ${vocabulary}`)
  }
  const rule = lossOf(loss.name)
  if (!Number.isInteger(width) || width < 1) refuse(`target_tokens has ${width} targets a position; give at least 1`)
  if (width > 1 && !rule.soft) {
    refuse(`target_tokens has ${width} targets a position, but loss ${loss.name} takes one (shape [${length}])`)
  }
  const shape = width === 1 ? `[${length}]` : `[${length}, ${width}]`
  checkLength(refuse, 'target_tokens', targets.length, length * width, shape)
  const badTarget = targets.findIndex((t) => t < 0 || t >= vocabulary)
  if (badTarget >= 0) {
    const position = Math.floor(badTarget / width)
    refuse(`target_tokens has ${targets[badTarget]} at position ${position}, not in the vocabulary of ${vocabulary}`)
  }
  for (const name of [...rule.required, ...rule.optional]) {
    const values = datum[name]
    const ofTargets = name === 'weights' || name === 'teacher_topk_logprobs'
    if (values) checkNumbers(refuse, { input: name, loss, values, length: ofTargets ? length * width : length, shape })
    else if (rule.required.includes(name)) refuse(missing(name, loss, shape))
  }
  const problem = rule.problem?.(datum, loss.config)
  if (problem) refuse(problem)
}

type Refuse = (sentence: string) => never

/** What the client that the loss belongs to calls an input. */
const wireName = (name: LossInput, loss: LossSpec): string =>
  isCatalogueLoss(loss.name) && Object.hasOwn(WIRE_NAMES, name) ? WIRE_NAMES[name as keyof typeof WIRE_NAMES] : name

const missing = (name: LossInput, loss: LossSpec, shape: string) => {
  const required = lossOf(loss.name).required.map((other) => wireName(other, loss))
  return `${wireName(name, loss)} is missing; loss ${loss.name} needs target_tokens, ${required.join(', ')}, each of shape ${shape}`
}

/** A tensor from outside, and what it must be like. */
interface Numbers {
  readonly input: LossInput
  readonly loss: LossSpec
  readonly values: Float32Array
  readonly length: number
  readonly shape: string
}

function checkNumbers(refuse: Refuse, { input, loss, values, length, shape }: Numbers): void {
  const name = wireName(input, loss)
  checkLength(refuse, name, values.length, length, shape)
  const bad = values.findIndex((v) => !Number.isFinite(v))
  if (bad >= 0) refuse(`${name} has ${values[bad]} at element ${bad}; only finite numbers can be trained on`)
  const between = input === 'mask' ? values.findIndex((v) => v !== 0 && v !== 1) : -1
  if (between >= 0) refuse(`mask has ${values[between]} at element ${between}; a position counts (1) or does not (0)`)
}

function checkLength(refuse: Refuse, name: string, found: number, wanted: number, shape: string): void {
  if (found !== wanted) refuse(`${name} has ${found} elements, but model_input asks for shape ${shape} (${wanted})`)
}
