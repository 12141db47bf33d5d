// Sampling between this client's types and the wire: a JSON request, a protobuf answer.

import type { RequestBody } from '../../generated/operations.ts'
import { tinker_public as pb } from '../../generated/tinker-proto.js'
import { TinkerError, UnexpectedAnswerError } from './errors.ts'
import type { ModelInputChunk } from './model-input.ts'
import { decodeFloat32, decodeInt32, decodeMessage, decodeTensor, tensorJson } from './tensor-wire.ts'
import type { Tensor } from './tensors.ts'
import type { SampledSequence, SampleRequest, SampleResponse, SamplingParams, TopLogprobs } from './types.ts'

type SampleBody = RequestBody<'asample'>

/** Where a request goes, and under which number. */
export interface SampleHead {
  readonly samplingSessionId: string
  /** Reaches 10^18 for copies of a client. */
  readonly seqId: bigint
  readonly recordStabilityInfo: boolean
}

/** Throws TinkerError for what every server would refuse. */
export function encodeSampleRequest(request: SampleRequest, head: SampleHead): SampleBody {
  const { promptAltTokensK = 0, promptLogprobsLastN: lastN, targetPromptLogprobs: targets } = request
  if (promptAltTokensK < 0) throw new TinkerError(`promptAltTokensK must be 0 or greater, not ${promptAltTokensK}.`)
  if (lastN !== undefined && lastN < 1) throw new TinkerError(`promptLogprobsLastN must be 1 or greater, not ${lastN}.`)
  if (lastN !== undefined && !request.includePromptLogprobs) {
    throw new TinkerError(
      'promptLogprobsLastN is about log-probabilities of the prompt: set includePromptLogprobs too.',
    )
  }
  return {
    num_samples: request.numSamples ?? 1,
    prompt: { chunks: request.prompt.chunks.map(chunkJson) },
    sampling_params: encodeParams(request.samplingParams ?? {}),
    sampling_session_id: head.samplingSessionId,
    seq_id: integer(head.seqId),
    prompt_logprobs: request.includePromptLogprobs ?? false,
    topk_prompt_logprobs: request.topkPromptLogprobs ?? 0,
    topk_sample_logprobs: request.topkSampleLogprobs ?? 0,
    ...(targets === undefined ? {} : { target_prompt_logprobs: targetsJson(targets) }),
    prompt_alt_tokens_k: promptAltTokensK,
    record_stability_info: head.recordStabilityInfo,
    ...(lastN === undefined ? {} : { prompt_logprobs_last_n: lastN }),
    type: 'sample',
  }
}

function targetsJson(targets: Tensor) {
  if (targets.dtype !== 'int64' || targets.shape?.length !== 2) {
    throw new TinkerError(
      `targetPromptLogprobs must be an int64 tensor [prompt length - 1, K], not ${targets.dtype} [${targets.shape ?? targets.data.length}].`,
    )
  }
  return tensorJson('targetPromptLogprobs', targets)
}

type ChunkJson = SampleBody['prompt']['chunks'][number]

function chunkJson(chunk: ModelInputChunk): ChunkJson {
  switch (chunk.type) {
    case 'encoded_text':
      return { tokens: Array.from(chunk.tokens), type: chunk.type }
    case 'dmel':
      return { dmel: base64(chunk.dmel), type: chunk.type }
    case 'image':
      return { data: base64(chunk.data), format: chunk.format, ...expected(chunk), type: chunk.type }
    case 'image_asset_pointer':
      return { format: chunk.format, location: chunk.location, ...expected(chunk), type: chunk.type }
  }
}

function expected({ expectedTokens }: { readonly expectedTokens?: number }): { expected_tokens?: number } {
  return expectedTokens === undefined ? {} : { expected_tokens: expectedTokens }
}

function base64(bytes: Uint8Array): string {
  const parts: string[] = []
  for (let at = 0; at < bytes.length; at += 0x8000) parts.push(String.fromCharCode(...bytes.subarray(at, at + 0x8000)))
  return btoa(parts.join(''))
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

/**
 * `sequenceIds` come with the acknowledgement; older servers send none. Throws UnexpectedAnswerError when the answer is not
 * one to this request: a server that does not know a field leaves it out of the answer without a word.
 */
export function decodeSampleResponse(
  bytes: Uint8Array,
  sequenceIds: readonly string[] | undefined,
  request: Pick<SampleRequest, 'promptAltTokensK' | 'promptLogprobsLastN'> = {},
): SampleResponse {
  return decodeMessage('SampleResponse', () => readSample(pb.SampleResponse.decode(bytes), sequenceIds, request))
}

function readSample(
  message: pb.SampleResponse,
  sequenceIds: readonly string[] | undefined,
  request: Pick<SampleRequest, 'promptAltTokensK' | 'promptLogprobsLastN'>,
): SampleResponse {
  const { sequences, prompt_logprobs: prompt, topk_prompt_logprobs: topk } = message
  if (sequenceIds && sequenceIds.length !== sequences.length) {
    throw new UnexpectedAnswerError(`The server named ${sequenceIds.length} sequences and sent ${sequences.length}.`)
  }
  const promptLogprobs = prompt ? nullable(decodeFloat32(prompt)) : undefined
  checkHonoured(message, promptLogprobs, request)
  const { target_prompt_logprobs: targets, prompt_alt_tokens: alternatives } = message
  return {
    sequences: sequences.map((sequence, index) => decodeSequence(sequence, sequenceIds?.[index])),
    promptCacheHitTokens: message.prompt_cache_hit_tokens,
    ...(promptLogprobs ? { promptLogprobs } : {}),
    ...(topk ? { topkPromptLogprobs: promptRows(decodeTopk(topk)) } : {}),
    ...(targets ? { targetPromptLogprobs: decodeTensor(targets) } : {}),
    ...(alternatives
      ? {
          promptAltTokens: {
            tokens: decodeTensor(alternatives.tokens ?? {}),
            logprobs: decodeTensor(alternatives.logprobs ?? {}),
          },
        }
      : {}),
  }
}

function checkHonoured(
  message: pb.SampleResponse.$Properties,
  promptLogprobs: readonly (number | null)[] | undefined,
  request: Pick<SampleRequest, 'promptAltTokensK' | 'promptLogprobsLastN'>,
): void {
  if (request.promptAltTokensK && !message.prompt_alt_tokens) {
    throw new UnexpectedAnswerError(
      'The server drew no prompt_alt_tokens although they were asked for: it may be too old.',
    )
  }
  const lastN = request.promptLogprobsLastN
  if (lastN !== undefined && promptLogprobs?.slice(0, -lastN).some((logprob) => logprob !== null)) {
    throw new UnexpectedAnswerError(
      'The server scored the whole prompt in spite of promptLogprobsLastN: it may be too old.',
    )
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
  if (ids.length !== width * (topk.length ?? 0) || logprobs.length !== ids.length) {
    throw new RangeError(
      `${ids.length} ids and ${logprobs.length} log-probabilities are not ${topk.length} rows of ${width}`,
    )
  }
  return Array.from({ length: width === 0 ? 0 : (topk.length ?? 0) }, (_, row) => {
    const cells = Array.from({ length: width }, (_, column) => row * width + column)
    return cells
      .filter((cell) => logprobs[cell] !== EMPTY_LOGPROB)
      .map((cell) => [ids[cell]!, logprobs[cell]!] as const)
  })
}

function promptRows(rows: readonly TopLogprobs[]): (TopLogprobs | null)[] {
  return rows.map((row) => (row.length === 0 ? null : row))
}
