// Sampling between this client's types and the wire: a JSON request, a protobuf answer.

import type { RequestBody } from '../../generated/operations.ts'
import { tinker_public as pb } from '../../generated/tinker-proto.js'
import { TinkerError } from './errors.ts'
import { decodeFloat32, decodeInt32 } from './tensor-wire.ts'
import type { SampledSequence, SampleRequest, SampleResponse, SamplingParams, TopLogprobs } from './types.ts'

type SampleBody = RequestBody<'asample'>

export function encodeSampleRequest(request: SampleRequest, samplingSessionId: string, seqId: number): SampleBody {
  return {
    num_samples: request.numSamples ?? 1,
    prompt: { chunks: [{ type: 'encoded_text', tokens: request.prompt.toInts() }] },
    sampling_params: encodeParams(request.samplingParams ?? {}),
    sampling_session_id: samplingSessionId,
    seq_id: seqId,
    prompt_logprobs: request.includePromptLogprobs ?? false,
    topk_prompt_logprobs: request.topkPromptLogprobs ?? 0,
    topk_sample_logprobs: request.topkSampleLogprobs ?? 0,
    prompt_alt_tokens_k: 0,
    record_stability_info: false,
    ...(request.promptLogprobsLastN === undefined ? {} : { prompt_logprobs_last_n: request.promptLogprobsLastN }),
    type: 'sample',
  }
}

function encodeParams(params: SamplingParams): SampleBody['sampling_params'] {
  return {
    ...(params.maxTokens === undefined ? {} : { max_tokens: params.maxTokens }),
    ...(params.seed === undefined ? {} : { seed: integer(params.seed) }),
    ...(params.stop === undefined ? {} : { stop: typeof params.stop === 'string' ? params.stop : [...params.stop] }),
    temperature: params.temperature ?? 1,
    top_k: params.topK ?? -1,
    top_p: params.topP ?? 1,
  } as SampleBody['sampling_params']
}

/** A 64-bit integer for `wireJson`, whose type has no bigint. */
export function integer(value: number | bigint): number {
  if (typeof value === 'number' && !Number.isSafeInteger(value)) {
    throw new TinkerError(`${value} is no whole number that a double holds exactly; give larger ones as bigint.`)
  }
  return value as number
}

/** `sequenceIds` come with the acknowledgement; older servers send none. */
export function decodeSampleResponse(bytes: Uint8Array, sequenceIds: readonly string[] = []): SampleResponse {
  const message = pb.SampleResponse.decode(bytes)
  return {
    sequences: message.sequences.map((sequence, index) => decodeSequence(sequence, sequenceIds[index])),
    promptCacheHitTokens: message.prompt_cache_hit_tokens,
    ...(message.prompt_logprobs ? { promptLogprobs: nullable(decodeFloat32(message.prompt_logprobs)) } : {}),
    ...(message.topk_prompt_logprobs
      ? { topkPromptLogprobs: promptRows(decodeTopk(message.topk_prompt_logprobs)) }
      : {}),
  }
}

function decodeSequence(sequence: pb.SampledSequence.$Properties, id: string | undefined): SampledSequence {
  return {
    tokens: Array.from(decodeInt32(sequence.tokens ?? new Uint8Array(0))),
    logprobs: Array.from(decodeFloat32(sequence.logprobs ?? new Uint8Array(0))),
    stopReason: sequence.stop_reason === pb.StopReason.STOP_REASON_LENGTH ? 'length' : 'stop',
    sequenceId: id,
    ...(sequence.topk_sampled_logprobs ? { topkLogprobs: decodeTopk(sequence.topk_sampled_logprobs) } : {}),
  }
}

function nullable(logprobs: Float32Array): (number | null)[] {
  return Array.from(logprobs, (logprob) => (Number.isNaN(logprob) ? null : logprob))
}

/** The mark of a cell that holds nothing. */
const EMPTY_LOGPROB = -99999

function decodeTopk(topk: pb.TopkLogprobs.$Properties): TopLogprobs[] {
  const ids = decodeInt32(topk.token_ids ?? new Uint8Array(0))
  const logprobs = decodeFloat32(topk.logprobs ?? new Uint8Array(0))
  const width = topk.k ?? 0
  return Array.from({ length: topk.length ?? 0 }, (_, row) => {
    const cells = Array.from({ length: width }, (_, column) => row * width + column)
    return cells
      .filter((cell) => logprobs[cell] !== EMPTY_LOGPROB)
      .map((cell) => [ids[cell]!, logprobs[cell]!] as const)
  })
}

function promptRows(rows: readonly TopLogprobs[]): (TopLogprobs | null)[] {
  return rows.map((row) => (row.length === 0 ? null : row))
}
