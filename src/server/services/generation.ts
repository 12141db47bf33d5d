// Between a sample call and an engine: the request that the call means, and the reply that the engine's events make. Knows
// both languages; knows nothing of queues, journals or sessions.

import type { Engine, EngineInfo, GenerationEvent, GenerationRequest } from '../../backends/backend.ts'
import type { SampleCall, SampleReply } from '../calls.ts'
import { askedTargets, laidOut } from '../wire/prompt-targets.ts'
import { drawSeed } from './new-run.ts'

/**
 * What a call asks of an engine. A call without a seed gets one: it belongs into the journal, so that the same tokens can be
 * drawn again. Operation and snapshot are the caller's to fill in.
 */
export function generationRequest(
  call: SampleCall,
  info: Pick<EngineInfo, 'endTokens' | 'maxContext'>,
): GenerationRequest {
  const { promptLogprobsLastN: last, targetPromptLogprobs: targets, promptAltTokens } = call
  return {
    operation: '',
    snapshot: null,
    prompt: call.prompt,
    samples: call.samples,
    maxTokens: call.maxTokens ?? Math.max(0, info.maxContext - call.prompt.length),
    temperature: call.temperature,
    topK: call.topK,
    topP: call.topP,
    seed: BigInt.asUintN(64, BigInt(call.seed ?? drawSeed())).toString(),
    stopTokens: call.stop?.tokens ?? info.endTokens,
    stopStrings: call.stop?.strings ?? [],
    promptLogprobs: call.promptLogprobs,
    topkPromptLogprobs: call.topkPromptLogprobs,
    topkSampleLogprobs: call.topkSampleLogprobs,
    ...(last !== undefined && { scorePromptFrom: call.prompt.length - last }),
    ...(targets && { promptTargets: askedTargets(targets) }),
    ...(promptAltTokens !== undefined && { promptDraws: promptAltTokens }),
  }
}

/** What a sequence has got; `start` is the place of the first of these tokens in it. */
export type NewTokens = Omit<Extract<GenerationEvent, { type: 'tokens' }>, 'type'>

/** Draws a sample; tells of its tokens as they are drawn, where the request streams. Throws what the engine throws. */
export async function collect(
  engine: Engine,
  request: GenerationRequest,
  call: SampleCall,
  signal: AbortSignal | undefined,
  onTokens: (tokens: NewTokens) => void = () => {},
): Promise<SampleReply> {
  const sequences: SampleReply['sequences'][number][] = new Array(request.samples)
  let scores: Partial<SampleReply> = {}
  let promptCacheHitTokens = 0
  for await (const event of engine.generate(request, signal)) {
    if (event.type === 'prompt') scores = scoresOf(event, call)
    else if (event.type === 'prefix') promptCacheHitTokens = event.cachedTokens
    else if (event.type === 'tokens') onTokens(event)
    else {
      const { index, type: _, ...sequence } = event
      sequences[index] = sequence
    }
  }
  return { sequences, ...scores, promptCacheHitTokens }
}

type PromptEvent = Extract<GenerationEvent, { type: 'prompt' }>

function scoresOf({ logprobs, topk, targets, draws }: PromptEvent, call: SampleCall): Partial<SampleReply> {
  const { targetPromptLogprobs: asked, promptAltTokens: k = 0 } = call
  return {
    ...(logprobs && { promptLogprobs: logprobs }),
    ...(topk && { promptTopk: topk }),
    ...(targets && asked && { promptTargets: laidOut(asked, targets) }),
    ...(draws && { promptAltTokens: { k, ...draws } }),
  }
}
