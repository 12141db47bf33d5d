// Refuses training data that cannot be computed, in sentences that name the datum, the tensor and both sizes. The server
// asks before anything is journalled, engines ask again. Knows sizes and limits; knows nothing of graphs.

import type { EngineInfo, LossSpec, TrainingDatum } from './backend.ts'
import { engineError } from './engine-errors.ts'
import { LOSSES, type LossInput } from './losses.ts'

export type DatumLimits = Pick<EngineInfo, 'vocabulary' | 'maxContext'>

/** Throws EngineError INVALID_INPUT for the first thing wrong with any of the datums. */
export function checkDatums(datums: readonly TrainingDatum[], loss: LossSpec, limits: DatumLimits): void {
  if (datums.length === 0) throw engineError('INVALID_INPUT', 'the request has no datums; give at least one')
  datums.forEach((datum, index) => {
    checkDatum(datum, index, loss, limits)
  })
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
  const rule = LOSSES[loss.name]
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
    if (values) checkNumbers(refuse, name, values, name === 'weights' ? length * width : length, shape)
    else if (rule.required.includes(name)) refuse(missing(name, loss, shape))
  }
  const problem = rule.kind === 'token' ? undefined : rule.problem(datum)
  if (problem) refuse(problem)
}

type Refuse = (sentence: string) => never

const missing = (name: LossInput, loss: LossSpec, shape: string) =>
  `${name} is missing; loss ${loss.name} needs target_tokens, ${LOSSES[loss.name].required.join(', ')}, each of shape ${shape}`

function checkNumbers(refuse: Refuse, name: LossInput, values: Float32Array, length: number, shape: string): void {
  checkLength(refuse, name, values.length, length, shape)
  const bad = values.findIndex((v) => !Number.isFinite(v))
  if (bad >= 0) refuse(`${name} has ${values[bad]} at element ${bad}; only finite numbers can be trained on`)
}

function checkLength(refuse: Refuse, name: string, found: number, wanted: number, shape: string): void {
  if (found !== wanted) refuse(`${name} has ${found} elements, but model_input asks for shape ${shape} (${wanted})`)
}
