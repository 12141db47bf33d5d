// Results that came as JSON, as the protobuf that this SDK reads.

import { tinker_public as pb } from '../generated/tinker-proto.js'

interface TensorJson {
  readonly data: readonly number[]
  readonly dtype?: string
  readonly shape?: readonly number[]
}

interface TrainingJson {
  readonly loss_fn_output_type?: string
  readonly loss_fn_outputs: readonly Readonly<Record<string, TensorJson>>[]
  readonly metrics?: Readonly<Record<string, unknown>>
}

interface SampleJson {
  readonly sequences: readonly {
    readonly stop_reason: string
    readonly tokens: readonly number[]
    readonly logprobs?: readonly number[] | null
  }[]
  readonly prompt_logprobs?: readonly (number | null)[] | null
  readonly topk_prompt_logprobs?: readonly (readonly (readonly [number, number])[] | null)[] | null
}

/** Null for what is JSON in this SDK too: pending answers, failures, results of other operations. */
export function resultBytes(body: Partial<TrainingJson & SampleJson>): Uint8Array<ArrayBuffer> | null {
  if (body.loss_fn_outputs)
    return pb.ForwardBackwardOutput.encode(training(body as TrainingJson))
      .finish()
      .slice()
  if (body.sequences)
    return pb.SampleResponse.encode(sample(body as SampleJson))
      .finish()
      .slice()
  return null
}

function training({ loss_fn_output_type, loss_fn_outputs, metrics }: TrainingJson) {
  const numbers = Object.entries(metrics ?? {}).filter((entry): entry is [string, number] => Number.isFinite(entry[1]))
  return {
    loss_fn_output_type: loss_fn_output_type ?? '',
    loss_fn_outputs: loss_fn_outputs.map((output) => ({
      num_datums: 1,
      fields: Object.fromEntries(Object.entries(output).map(([name, tensor]) => [name, batchOfOne(tensor)])),
    })),
    metrics: Object.fromEntries(numbers),
  }
}

function batchOfOne({ data, dtype, shape }: TensorJson) {
  const isWhole = dtype === 'int64'
  const bytes = isWhole ? bytesOf(BigInt64Array.from(data, BigInt)) : floats(data)
  return {
    data: bytes,
    offsets: bytesOf(BigInt64Array.of(0n, BigInt(bytes.length))),
    dtype: isWhole ? pb.DType.DTYPE_INT64 : pb.DType.DTYPE_FLOAT32,
    trailing_shape: (shape ?? []).slice(1),
  }
}

function sample({ sequences, prompt_logprobs: prompt, topk_prompt_logprobs: topk }: SampleJson) {
  return {
    sequences: sequences.map(({ stop_reason, tokens, logprobs }) => ({
      stop_reason: stop_reason === 'length' ? pb.StopReason.STOP_REASON_LENGTH : pb.StopReason.STOP_REASON_STOP,
      tokens: bytesOf(Int32Array.from(tokens)),
      ...(logprobs ? { logprobs: floats(logprobs) } : {}),
    })),
    ...(prompt ? { prompt_logprobs: floats(prompt.map((logprob) => logprob ?? Number.NaN)) } : {}),
    ...(topk ? { topk_prompt_logprobs: best(topk) } : {}),
  }
}

/** The mark of a cell that holds nothing. */
const EMPTY_LOGPROB = -99999

function best(rows: NonNullable<SampleJson['topk_prompt_logprobs']>) {
  const k = Math.max(0, ...rows.map((row) => row?.length ?? 0))
  const cells = rows.flatMap((row) => Array.from({ length: k }, (_, i) => row?.[i] ?? ([0, EMPTY_LOGPROB] as const)))
  return {
    token_ids: bytesOf(Int32Array.from(cells, ([id]) => id)),
    logprobs: floats(cells.map(([, logprob]) => logprob)),
    k,
    length: rows.length,
  }
}

const floats = (values: readonly number[]) => bytesOf(Float32Array.from(values))
const bytesOf = (array: ArrayBufferView) => new Uint8Array(array.buffer, array.byteOffset, array.byteLength)
