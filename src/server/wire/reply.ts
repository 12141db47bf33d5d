// Results of futures. They are kept as bytes: protobuf for training and samples, JSON for all else; old SDKs, which know no
// protobuf, get the same bytes turned into JSON. NaN stands for "not scored": JSON has null for it, top-k cells a marker.
// Knows replies and their two forms; knows nothing of futures and of who gets which form.

import type { TopK } from '../../backends/backend.ts'
import type { Schemas } from '../../generated/operations.ts'
import { tinker_public } from '../../generated/tinker-proto.js'
import type { Reply, SampleReply, TrainingReply } from '../calls.ts'
import { int64Bytes, rawBytes, readFloat32, readInt32, readInt64 } from './bytes.ts'
import {
  altTokensJson,
  decodeAltTokens,
  decodeTargets,
  encodeAltTokens,
  encodeTargets,
  targetsJson,
} from './prompt-targets.ts'

const { ForwardBackwardOutput, SampleResponse, DType, StopReason } = tinker_public

/** What clients take for the kind of the outputs; there is only one. */
const OUTPUT_TYPE = 'TorchLossReturn'
/** The logprob of a top-k cell that holds no token. */
const EMPTY_CELL = -99999

type Json = Readonly<Record<string, unknown>>
type JsonTopk = NonNullable<Schemas['TopkLogprobs']>

export function encodeReply(reply: Reply): Uint8Array {
  if (reply.type === 'training') return encodeTrainingReply(reply.value)
  if (reply.type === 'sample') return encodeSampleReply(reply.value)
  return new TextEncoder().encode(JSON.stringify(reply.value))
}

/** Kept bytes as what was kept. */
export function replyOf(type: Reply['type'], bytes: Uint8Array): Reply {
  if (type === 'training') return { type, value: decodeTrainingReply(bytes) }
  if (type === 'sample') return { type, value: decodeSampleReply(bytes) }
  return { type, value: JSON.parse(new TextDecoder().decode(bytes)) }
}

/** The JSON form of kept bytes. */
export function replyJson(type: Reply['type'], bytes: Uint8Array): Json {
  if (type === 'training') return trainingReplyJson(decodeTrainingReply(bytes))
  if (type === 'sample') return sampleReplyJson(decodeSampleReply(bytes))
  return JSON.parse(new TextDecoder().decode(bytes)) as Json
}

/** A ForwardBackwardOutput: datums that follow each other with one trailing shape share a record. */
export function encodeTrainingReply(reply: TrainingReply): Uint8Array {
  const { logprobs, metrics } = reply
  for (const key of Object.keys(metrics)) {
    if (key.split(':').length !== 2) throw new Error(`the metric ${key} is not name:reduction`)
  }
  return ForwardBackwardOutput.encode({
    loss_fn_output_type: OUTPUT_TYPE,
    loss_fn_outputs: [
      ...records(logprobs).map((datums) => ({
        type_tag: OUTPUT_TYPE,
        fields: { logprobs: batched(datums) },
        num_datums: datums.length,
      })),
      ...EXTRAS.flatMap((name) => extraRecord(name, reply[name])),
    ],
    metrics,
  }).finish()
}

export function decodeTrainingReply(bytes: Uint8Array): TrainingReply {
  const { loss_fn_outputs, metrics } = ForwardBackwardOutput.decode(bytes)
  return {
    logprobs: loss_fn_outputs.flatMap(({ fields }) => (fields?.logprobs ? unbatched(fields.logprobs) : [])),
    ...Object.fromEntries(
      loss_fn_outputs.flatMap(({ fields }) =>
        EXTRAS.flatMap((name) => (fields?.[name] ? [[name, unbatched(fields[name]).map(({ values }) => values)]] : [])),
      ),
    ),
    metrics: { ...metrics },
  }
}

/** What only calls of Twinkle's protocol have in their answers, which it reads itself. */
const EXTRAS = ['entropies', 'embeddings'] as const

function extraRecord(name: string, rows: readonly Float32Array[] | undefined) {
  if (!rows) return []
  const datums = rows.map((values) => ({ values, width: 1, matrix: false }))
  return [{ type_tag: OUTPUT_TYPE, fields: { [name]: batched(datums) }, num_datums: rows.length }]
}

function trainingReplyJson({ logprobs, metrics }: TrainingReply): Schemas['ForwardBackwardOutput'] {
  return {
    loss_fn_output_type: OUTPUT_TYPE,
    loss_fn_outputs: logprobs.map(({ values, width, matrix }) => ({
      logprobs: {
        data: orNull(values),
        dtype: 'float32',
        shape: matrix ? [values.length / width, width] : [values.length],
      },
    })),
    metrics: { ...metrics },
  }
}

export function encodeSampleReply(reply: SampleReply): Uint8Array {
  const { sequences, promptLogprobs, promptTopk, promptTargets, promptAltTokens, promptCacheHitTokens } = reply
  return SampleResponse.encode({
    sequences: sequences.map(({ tokens, logprobs, topk, stopReason }) => ({
      stop_reason: stopReason === 'stop' ? StopReason.STOP_REASON_STOP : StopReason.STOP_REASON_LENGTH,
      tokens: rawBytes(tokens),
      logprobs: rawBytes(logprobs),
      topk_sampled_logprobs: topk ? encodeTopk(topk) : null,
    })),
    prompt_logprobs: promptLogprobs ? rawBytes(promptLogprobs) : null,
    topk_prompt_logprobs: promptTopk ? encodeTopk(promptTopk) : null,
    prompt_cache_hit_tokens: promptCacheHitTokens,
    target_prompt_logprobs: promptTargets ? encodeTargets(promptTargets) : null,
    prompt_alt_tokens: promptAltTokens ? encodeAltTokens(promptAltTokens) : null,
  }).finish()
}

export function decodeSampleReply(bytes: Uint8Array): SampleReply {
  const message = SampleResponse.decode(bytes)
  return {
    sequences: message.sequences.map((sequence) => ({
      tokens: readInt32(sequence.tokens ?? new Uint8Array(0)),
      logprobs: readFloat32(sequence.logprobs ?? new Uint8Array(0)),
      ...(sequence.topk_sampled_logprobs && { topk: decodeTopk(sequence.topk_sampled_logprobs) }),
      stopReason: sequence.stop_reason === StopReason.STOP_REASON_LENGTH ? 'length' : 'stop',
    })),
    ...(message.prompt_logprobs && { promptLogprobs: readFloat32(message.prompt_logprobs) }),
    ...(message.topk_prompt_logprobs && { promptTopk: decodeTopk(message.topk_prompt_logprobs) }),
    ...(message.target_prompt_logprobs && { promptTargets: decodeTargets(message.target_prompt_logprobs) }),
    ...(message.prompt_alt_tokens && { promptAltTokens: decodeAltTokens(message.prompt_alt_tokens) }),
    promptCacheHitTokens: message.prompt_cache_hit_tokens,
  }
}

function sampleReplyJson(reply: SampleReply): Schemas['SampleResponse'] {
  const { sequences, promptLogprobs, promptTopk, promptTargets, promptAltTokens, promptCacheHitTokens } = reply
  return {
    type: 'sample',
    sequences: sequences.map(({ tokens, logprobs, topk, stopReason }) => ({
      stop_reason: stopReason,
      tokens: [...tokens],
      logprobs: orNull(logprobs),
      ...(topk && { topk_sampled_logprobs: topkJson(topk) }),
    })),
    ...(promptLogprobs && { prompt_logprobs: orNull(promptLogprobs) }),
    ...(promptTopk && { topk_prompt_logprobs: topkJson(promptTopk) }),
    prompt_cache_hit_tokens: promptCacheHitTokens,
    ...(promptTargets && { target_prompt_logprobs: targetsJson(promptTargets) }),
    ...(promptAltTokens && { prompt_alt_tokens: altTokensJson(promptAltTokens) }),
  }
}

type DatumLogprobs = TrainingReply['logprobs'][number]

function records(datums: readonly DatumLogprobs[]): DatumLogprobs[][] {
  const out: DatumLogprobs[][] = []
  for (const datum of datums) {
    const [first] = out.at(-1) ?? []
    if (first && first.matrix === datum.matrix && (!datum.matrix || first.width === datum.width))
      out.at(-1)!.push(datum)
    else out.push([datum])
  }
  return out
}

function batched(datums: readonly DatumLogprobs[]): tinker_public.BatchedTensor.$Properties {
  const offsets = [0]
  for (const { values } of datums) offsets.push(offsets.at(-1)! + values.byteLength)
  const data = new Uint8Array(offsets.at(-1)!)
  datums.forEach(({ values }, i) => {
    data.set(rawBytes(values), offsets[i]!)
  })
  const [first] = datums
  return {
    data,
    offsets: int64Bytes(offsets),
    dtype: DType.DTYPE_FLOAT32,
    trailing_shape: first?.matrix ? [first.width] : [],
  }
}

function unbatched({ data, offsets, trailing_shape }: tinker_public.BatchedTensor.$Properties): DatumLogprobs[] {
  const ends = readInt64(offsets ?? new Uint8Array(0))
  const bytes = data ?? new Uint8Array(0)
  const width = trailing_shape?.[0]
  return Array.from({ length: Math.max(0, ends.length - 1) }, (_, i) => ({
    values: readFloat32(bytes.subarray(ends[i], ends[i + 1])),
    width: width ?? 1,
    matrix: width !== undefined,
  }))
}

function encodeTopk({ k, ids, logprobs }: TopK): tinker_public.TopkLogprobs.$Properties {
  return {
    token_ids: rawBytes(ids.map((id, cell) => (Number.isNaN(logprobs[cell]) ? 0 : id))),
    logprobs: rawBytes(logprobs.map((logprob) => (Number.isNaN(logprob) ? EMPTY_CELL : logprob))),
    k,
    length: ids.length / k,
  }
}

function decodeTopk(message: tinker_public.TopkLogprobs.$Properties): TopK {
  const logprobs = readFloat32(message.logprobs ?? new Uint8Array(0))
  return {
    k: message.k ?? 0,
    ids: readInt32(message.token_ids ?? new Uint8Array(0)),
    logprobs: logprobs.map((logprob) => (logprob === EMPTY_CELL ? Number.NaN : logprob)),
  }
}

/** Rows of [id, logprob], best first, without empty cells; null where a row has none. */
function topkJson({ k, ids, logprobs }: TopK): JsonTopk {
  return Array.from({ length: ids.length / k }, (_, row) => {
    const cells: [number, number][] = []
    for (let cell = row * k; cell < (row + 1) * k; cell++) {
      if (!Number.isNaN(logprobs[cell])) cells.push([ids[cell]!, logprobs[cell]!])
    }
    return cells.length > 0 ? cells : null
  })
}

/** JSON knows finite numbers only. */
function orNull(values: Float32Array): (number | null)[] {
  return Array.from(values, (value) => (Number.isFinite(value) ? value : null))
}
