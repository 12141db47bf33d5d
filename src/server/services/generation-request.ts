// A sample call as the engine takes it: what was left out is filled in from what the engine can do.

import type { EngineInfo, GenerationRequest } from '../../backends/backend.ts'
import type { SampleCall } from '../calls.ts'
import { drawSeed } from './new-run.ts'

/** A call without a seed gets one: it belongs into the journal, so that the same tokens can be drawn again. */
export function generationRequest(
  call: SampleCall,
  info: Pick<EngineInfo, 'endTokens' | 'maxContext'>,
): GenerationRequest {
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
  }
}
