// forward and forward_backward between this client's types and protobuf: data are cut into requests of bounded size, and
// the answers of several requests become one.

import { tinker_public as pb } from '../../generated/tinker-proto.js'
import { TinkerError } from './errors.ts'
import { decodeBatched, decodeMessage, encodeModelInput, encodeTensor } from './tensor-wire.ts'
import type { TensorOutput } from './tensors.ts'
import type { Datum, ForwardBackwardOutput, LossConfig, ProvenanceSpan } from './types.ts'

export interface ChunkLimits {
  /** Most data in a request. */
  readonly data: number
  /** Most bytes in a request, estimated; one datum larger than that goes alone. */
  readonly bytes: number
}

export interface Chunk {
  readonly data: readonly pb.Datum.$Properties[]
  readonly bytes: number
}

/** Encodes and cuts. Throws TinkerError for no data, or data that cannot be encoded. */
export function chunksOf(data: readonly Datum[], limits: ChunkLimits): Chunk[] {
  if (data.length === 0) throw new TinkerError('No data provided: give at least one datum.')
  const chunks: { data: pb.Datum.$Properties[]; bytes: number }[] = []
  for (const datum of data) {
    const encoded = encodeDatum(datum)
    const bytes = sizeOf(encoded)
    const last = chunks.at(-1)
    if (last && last.data.length < limits.data && last.bytes + bytes <= limits.bytes) {
      last.data.push(encoded)
      last.bytes += bytes
    } else {
      chunks.push({ data: [encoded], bytes })
    }
  }
  return chunks
}

/** Data that are to go together, whatever they weigh. */
export function encodeChunk(data: readonly Datum[]): Chunk {
  const encoded = data.map(encodeDatum)
  return { data: encoded, bytes: encoded.reduce((sum, datum) => sum + sizeOf(datum), 0) }
}

function encodeDatum({ modelInput, lossFnInputs, ...spans }: Datum): pb.Datum.$Properties {
  const inputs = Object.entries(lossFnInputs).map(([name, value]) => [name, encodeTensor(name, value)] as const)
  if ((spans.modelInputSpans === undefined) !== (spans.lossFnInputSpans === undefined)) {
    throw new TinkerError(
      'Provenance is given for both modelInput and lossFnInputs or for neither: use withProvenance.',
    )
  }
  return {
    model_input: encodeModelInput(modelInput),
    loss_fn_inputs: Object.fromEntries(inputs),
    ...(spans.modelInputSpans ? { model_input_spans: spans.modelInputSpans.map(encodeSpan) } : {}),
    ...(spans.lossFnInputSpans ? { loss_fn_input_spans: spans.lossFnInputSpans.map(encodeSpan) } : {}),
  }
}

function encodeSpan({ kind, sequenceId, offset, length }: ProvenanceSpan): pb.ProvenanceSpan.$Properties {
  const run = { sequence_id: sequenceId, offset: offset ?? 0, length }
  return kind === 'sampled' ? { sampled_tokens: run } : { prompt_tokens: run }
}

/** The estimate that the protocol cuts by: what the chunks and the numbers take, without names and headers. */
function sizeOf(datum: pb.Datum.$Properties): number {
  const chunks = datum.model_input ?? []
  const input = chunks.reduce(
    (sum, { encoded_text: text, image, dmel }) =>
      sum + (text?.tokens?.length ?? 0) + (image?.data?.length ?? 0) + (dmel?.dmel?.length ?? 0),
    0,
  )
  const tensors = Object.values(datum.loss_fn_inputs ?? {}).map(
    ({ dense, sparse_csr: csr }) =>
      (dense?.length ?? 0) +
      (csr?.values?.length ?? 0) +
      (csr?.crow_indices?.length ?? 0) +
      (csr?.col_indices?.length ?? 0),
  )
  return tensors.reduce((sum, bytes) => sum + bytes, input)
}

export interface TrainingHead {
  readonly modelId: string
  readonly lossName: string
  readonly lossConfig: LossConfig
  readonly isForwardOnly: boolean
}

export function encodeTrainingRequest(head: TrainingHead, chunk: Chunk, seqId: number): Uint8Array {
  const entries = Object.entries(head.lossConfig)
  const numbers = entries.filter((entry): entry is [string, number] => typeof entry[1] === 'number')
  const values = entries.map(([key, value]) => [key, typeof value === 'number' ? { number: value } : { text: value }])
  return pb.ForwardBackwardRequest.encode({
    model_id: head.modelId,
    seq_id: seqId,
    data: [...chunk.data],
    loss_fn: head.lossName,
    loss_fn_config: Object.fromEntries(numbers),
    loss_fn_config_v2: Object.fromEntries(values),
    forward_only: head.isForwardOnly,
  }).finish()
}

/** Throws UnexpectedAnswerError for bytes that are no such message. */
export function decodeTrainingOutput(bytes: Uint8Array): ForwardBackwardOutput {
  return decodeMessage('ForwardBackwardOutput', () => {
    const message = pb.ForwardBackwardOutput.decode(bytes)
    return {
      lossFnOutputType: message.loss_fn_output_type.split(':').at(-1) ?? '',
      lossFnOutputs: message.loss_fn_outputs.flatMap(decodeRecord),
      metrics: message.metrics,
    }
  })
}

/** More than any request holds: what claims more is not believed, since room is made for it. */
const MOST_DATA = 2 ** 20

function decodeRecord(record: pb.ArrayRecord.$Properties): Record<string, TensorOutput>[] {
  const count = Number(record.num_datums ?? 0)
  if (!(count >= 0 && count <= MOST_DATA)) throw new RangeError(`it claims to be about ${count} data`)
  const outputs: Record<string, TensorOutput>[] = Array.from({ length: count }, () => ({}))
  for (const [name, batch] of Object.entries(record.fields ?? {})) {
    for (const [index, tensor] of decodeBatched(name, batch, count).entries()) outputs[index]![name] = tensor
  }
  return outputs
}

/** One answer from those of the parts, in the order of the data. */
export function combineOutputs(parts: readonly ForwardBackwardOutput[]): ForwardBackwardOutput {
  const [first] = parts
  if (!first) throw new TinkerError('There is no answer to combine.')
  return {
    lossFnOutputType: first.lossFnOutputType,
    lossFnOutputs: parts.flatMap((part) => part.lossFnOutputs),
    metrics: combineMetrics(parts),
  }
}

/** How a metric of several parts becomes one, by what follows the colon of its name; others are dropped. */
const REDUCTIONS: Readonly<Record<string, (values: readonly number[], weights: readonly number[]) => number>> = {
  sum: (values) => values.reduce((sum, value) => sum + value, 0),
  min: (values) => Math.min(...values),
  max: (values) => Math.max(...values),
  mean: weightedMean,
  slack: (values, weights) => Math.max(...values) - weightedMean(values, weights),
  hash2: (values) =>
    Number(
      BigInt.asUintN(
        64,
        values.reduce((sum, value) => sum + BigInt(Math.trunc(value)), 0n),
      ),
    ),
}

function combineMetrics(parts: readonly ForwardBackwardOutput[]): Record<string, number> {
  const weights = parts.map((part) => part.lossFnOutputs.length)
  const combined: Record<string, number> = {}
  for (const key of Object.keys(parts[0]?.metrics ?? {})) {
    if (!parts.every((part) => key in part.metrics)) continue
    const values = parts.map((part) => part.metrics[key]!)
    const reduction = key.split(':')[1] ?? ''
    const reduce = REDUCTIONS[reduction]
    if (reduce) combined[key] = reduce(values, weights)
    if (reduction === 'unique') {
      for (const [index, value] of values.entries()) combined[index === 0 ? key : `${key}_${index}`] = value
    }
  }
  return combined
}

function weightedMean(values: readonly number[], weights: readonly number[]): number {
  const total = weights.reduce((sum, weight) => sum + weight, 0)
  const isCounted = total > 0
  const sum = values.reduce((before, value, index) => before + value * (isCounted ? weights[index]! : 1), 0)
  return sum / (isCounted ? total : values.length)
}
