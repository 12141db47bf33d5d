// forward and forward_backward: protobuf (SDK 0.25 and later) and JSON (before) become one TrainingCall, and a call becomes
// the canonical protobuf that the journal keeps. The canonical form is the one that SDK 0.26 and later send, maps sorted.
// Knows datums and tensors; losses, vocabularies and models are checked by those who have them.

import type { TrainingDatum } from '../../backends/backend.ts'
import { isCatalogueLoss } from '../../catalogue/losses/catalogue.ts'
import type { Schemas } from '../../generated/operations.ts'
import { tinker_public } from '../../generated/tinker-proto.js'
import type { TrainingCall } from '../calls.ts'
import { ServiceError, serviceError } from '../errors.ts'
import { int64Bytes, rawBytes } from './bytes.ts'
import { tokensOfJson, tokensOfProto } from './model-input.ts'
import { checkProvenance, type Provenance } from './provenance.ts'
import { checkComplexity } from './scan.ts'
import {
  type Dense,
  dense,
  invalid,
  type SparseBudget,
  tensorOfJson,
  tensorOfProto,
  text,
  toFloat32,
  toInt32,
  type WireTensor,
} from './tensors.ts'

export { type Peeked, peekTraining } from './scan.ts'

const { ForwardBackwardRequest, DType } = tinker_public

/** What loss_fn_inputs may hold besides target_tokens. */
const FLOATS = ['weights', 'logprobs', 'advantages', 'sequence_ratio_mask'] as const
/** What losses of Twinkle's catalogue read besides: the Tinker wire has none of these, the journal has. */
const CATALOGUE_FLOATS = ['mask', 'ref_logps', 'teacher_topk_logprobs'] as const
/** Those that go with each of K targets. */
const BY_TARGET: readonly FloatInput[] = ['weights', 'teacher_topk_logprobs']
type FloatInput = (typeof FLOATS)[number] | (typeof CATALOGUE_FLOATS)[number]
/** Sent by some training scripts for their own use; it means nothing to a loss. */
const IGNORED = ['mask']

type LossConfig = TrainingCall['lossConfig']

/** Throws MALFORMED_PROTOBUF, BODY_TOO_COMPLEX, or the error of what the message holds. */
export function decodeTraining(bytes: Uint8Array): TrainingCall {
  checkComplexity(bytes)
  return trainingCall(rawCall(parse(bytes)))
}

/** What `encodeTrainingCall` wrote. A loss of Twinkle's catalogue can only have been accepted as such. */
export function decodeJournalledTraining(bytes: Uint8Array): TrainingCall {
  const raw = rawCall(parse(bytes))
  return isCatalogueLoss(raw.lossName) ? trainingCall({ ...raw, family: 'twinkle' }) : trainingCall(raw)
}

function rawCall(message: tinker_public.ForwardBackwardRequest): RawCall {
  return {
    modelId: message.model_id ?? '',
    seqId: message.seq_id ?? 0,
    forwardOnly: message.forward_only ?? false,
    lossName: message.loss_fn ?? '',
    lossConfig: configOfProto(message),
    datums: (message.data ?? []).map((datum, i) => ({
      tokens: tokensOfProto(datum.model_input ?? [], `Datum ${i}`),
      inputs: mapValues(datum.loss_fn_inputs ?? {}, (tensor, name) => tensorOfProto(tensor, { datum: i, name })),
      spans: datum,
    })),
  }
}

/** The JSON of both endpoints; `body` has passed its validator. */
export function trainingOfJson(body: Schemas['ForwardBackwardRequest'] | Schemas['ForwardRequest']): TrainingCall {
  const isForward = 'forward_input' in body
  const { data, loss_fn, loss_fn_config } = isForward ? body.forward_input : body.forward_backward_input
  return trainingCall({
    modelId: body.model_id,
    seqId: seqIdOf(body.seq_id),
    forwardOnly: isForward || (body.forward_only ?? false),
    lossName: loss_fn,
    lossConfig: { ...loss_fn_config },
    datums: data.map((datum, i) => ({
      tokens: tokensOfJson(datum.model_input, `Datum ${i}`),
      inputs: mapValues(datum.loss_fn_inputs, tensorOfJson),
      spans: datum,
    })),
  })
}

/** Canonical bytes: equal calls give equal bytes, and `decodeTraining` gives the call back. */
export function encodeTrainingCall(call: TrainingCall): Uint8Array {
  const config = Object.entries(call.lossConfig).sort(byKey)
  return ForwardBackwardRequest.encode({
    model_id: call.modelId,
    seq_id: call.seqId,
    data: call.datums.map((datum, i) => encodeDatum(datum, call.matrix[i] ?? false, inputsOf(call))),
    loss_fn: call.lossName,
    forward_only: call.forwardOnly,
    loss_fn_config: Object.fromEntries(config.filter((entry): entry is [string, number] => isNumber(entry[1]))),
    loss_fn_config_v2: Object.fromEntries(
      config.map(([key, value]) => [key, isNumber(value) ? { number: value } : { text: value }]),
    ),
  }).finish()
}

const inputsOf = ({ family }: Pick<TrainingCall, 'family'>): readonly FloatInput[] =>
  family === 'twinkle' ? [...FLOATS, ...CATALOGUE_FLOATS] : FLOATS

interface RawCall {
  readonly family?: 'twinkle'
  readonly modelId: string
  readonly seqId: number
  readonly forwardOnly: boolean
  readonly lossName: string
  readonly lossConfig: LossConfig
  readonly datums: readonly RawDatum[]
}

interface RawDatum {
  readonly tokens: Int32Array
  readonly inputs: Readonly<Record<string, WireTensor>>
  readonly spans: Provenance
}

function trainingCall({ datums, ...call }: RawCall): TrainingCall {
  const refuse = (problem: string) => serviceError('INVALID_BODY', { operation: 'forward_backward', problem })
  if (call.modelId === '') throw refuse('model_id is missing')
  if (call.lossName === '') throw refuse('loss_fn is missing')
  if (call.seqId < 0) throw refuse(`seq_id must be 1 or more, but is ${call.seqId}`)
  if (datums.length === 0) throw serviceError('NO_DATA')
  const budget: SparseBudget = { cells: 0 }
  const parts = datums.map((datum, i) => datumOf(datum, i, { loss: call.lossName, names: inputsOf(call) }, budget))
  return { ...call, datums: parts.map(({ datum }) => datum), matrix: parts.map(({ matrix }) => matrix) }
}

interface Wanted {
  readonly loss: string
  readonly names: readonly FloatInput[]
}

function datumOf(raw: RawDatum, index: number, { loss, names: floats }: Wanted, budget: SparseBudget) {
  const { tokens, inputs } = raw
  const names: readonly string[] = ['target_tokens', ...floats]
  for (const name of Object.keys(inputs)) {
    if (!names.includes(name) && !IGNORED.includes(name)) {
      throw serviceError('UNKNOWN_LOSS_INPUT', { datum: index, name, names })
    }
  }
  const targetTensor = inputs.target_tokens
  if (!targetTensor) throw serviceError('MISSING_LOSS_INPUT', { datum: index, loss, name: 'target_tokens' })
  const name = { datum: index, name: 'target_tokens' }
  const targets = dense(targetTensor, name, budget)
  const width = widthOf(targets, tokens.length, name)
  checkProvenance(index, raw.spans, { tokens: tokens.length, targets: targets.shape[0] ?? 0 })
  const datum: TrainingDatum = {
    tokens,
    targets: toInt32(targets, targetTensor.dtype, name),
    width,
    ...floatsOf(raw, index, floats, width, budget),
  }
  return { datum, matrix: targets.shape.length === 2 }
}

/** [N] has width 1, [N, K] has width K. */
function widthOf({ shape }: Dense, length: number, name: { datum: number; name: string }): number {
  const [rows, width = 1] = shape
  if (rows === length && shape.length <= 2 && width > 0) return width
  throw invalid(name, `has the shape ${text(shape)}`, `[${length}] or [${length}, K]: model_input has ${length} tokens`)
}

function floatsOf(raw: RawDatum, datum: number, names: readonly FloatInput[], width: number, budget: SparseBudget) {
  const { inputs } = raw
  const { length } = raw.tokens
  const floats: { -readonly [K in FloatInput]?: Float32Array } = {}
  for (const key of names) {
    const tensor = inputs[key]
    if (!tensor) continue
    const name = { datum, name: key }
    const values = dense(tensor, name, budget)
    // [N, 1] and [N] are the same row of numbers.
    const columns = BY_TARGET.includes(key) ? width : 1
    const [rows, found = 1] = values.shape
    if (rows !== length || found !== columns || values.shape.length > 2) {
      const wanted = columns === 1 ? `[${length}]` : `[${length}, ${columns}]`
      throw invalid(name, `has the shape ${text(values.shape)}`, `${wanted}: model_input has ${length} tokens`)
    }
    floats[key] = toFloat32(values, name)
  }
  return floats
}

function parse(bytes: Uint8Array): tinker_public.ForwardBackwardRequest {
  try {
    return ForwardBackwardRequest.decode(bytes)
  } catch (cause) {
    if (cause instanceof ServiceError) throw cause
    const problem = cause instanceof Error ? cause.message : 'it cannot be read'
    throw serviceError('MALFORMED_PROTOBUF', { message: 'ForwardBackwardRequest', problem }, { cause })
  }
}

/** Field 7 holds what field 5 holds and text besides; field 5 alone comes from SDKs before 0.26. */
function configOfProto(message: tinker_public.ForwardBackwardRequest): LossConfig {
  const values = Object.entries(message.loss_fn_config_v2 ?? {})
  if (values.length === 0) return { ...message.loss_fn_config }
  return Object.fromEntries(
    values.map(([key, value]) => {
      const given = value.number ?? value.text
      if (given != null) return [key, given]
      throw serviceError('INVALID_LOSS_CONFIG', { key, value: 'nothing', expected: 'a number or text' })
    }),
  )
}

function seqIdOf(seqId: number | string | null | undefined): number {
  const value = Number(seqId ?? 0)
  if (Number.isSafeInteger(value)) return value
  throw serviceError('INVALID_BODY', { operation: 'forward_backward', problem: `seq_id ${seqId} is beyond 2^53` })
}

function encodeDatum(
  datum: TrainingDatum,
  matrix: boolean,
  names: readonly FloatInput[],
): tinker_public.Datum.$Properties {
  const length = datum.tokens.length
  const targetShape = matrix ? [length, datum.width] : [length]
  const entries: [string, tinker_public.Tensor.$Properties][] = [
    ['target_tokens', { dense: int64Bytes(datum.targets), dtype: DType.DTYPE_INT64, shape: targetShape }],
  ]
  for (const key of names) {
    const values = datum[key]
    if (!values) continue
    const shape = BY_TARGET.includes(key) ? targetShape : [length]
    entries.push([key, { dense: rawBytes(values), dtype: DType.DTYPE_FLOAT32, shape }])
  }
  return {
    model_input: [{ encoded_text: { tokens: rawBytes(datum.tokens) } }],
    loss_fn_inputs: Object.fromEntries(entries.sort(byKey)),
  }
}

const isNumber = (value: number | string): value is number => typeof value === 'number'
const byKey = ([a]: readonly [string, unknown], [b]: readonly [string, unknown]) => (a < b ? -1 : 1)

function mapValues<A, B>(record: Readonly<Record<string, A>>, map: (value: A, key: string) => B): Record<string, B> {
  return Object.fromEntries(Object.entries(record).map(([key, value]) => [key, map(value, key)]))
}
