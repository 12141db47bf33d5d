// What a generation request must keep for a model of a given vocabulary and context. Pure; the server asks before it
// accepts a request, the engine asks again. Each refusal names the field, what it was and what is accepted.

import type { EngineInfo, GenerationRequest } from '../backend.ts'
import { engineError } from '../engine-errors.ts'

export type GenerationLimits = Pick<EngineInfo, 'vocabulary' | 'maxContext' | 'maxTopK'>

/** Most sequences of one request, and most stop tokens and stop strings. */
const MAX_SAMPLES = 4096
const MAX_STOPS = 1024

/** Throws an EngineError INVALID_INPUT for the first thing that is wrong. */
export function checkGeneration(request: GenerationRequest, limits: GenerationLimits): void {
  checkPrompt(request.prompt, limits)
  whole('samples', request.samples, 0, MAX_SAMPLES)
  if (request.samples > 0) checkSampling(request, limits)
  checkStops(request, limits)
  const { vocabulary, maxTopK } = limits
  const best = Math.min(maxTopK, vocabulary)
  whole('topkPromptLogprobs', request.topkPromptLogprobs, 0, best)
  whole('topkSampleLogprobs', request.topkSampleLogprobs, 0, best)
}

function checkPrompt(prompt: Int32Array, { vocabulary, maxContext }: GenerationLimits): void {
  if (prompt.length === 0) refuse('the prompt is empty; it needs at least 1 token')
  if (prompt.length > maxContext) {
    refuse(`the prompt has ${prompt.length} tokens, the context of this model is ${maxContext}`)
  }
  for (const [position, id] of prompt.entries()) {
    if (id < 0 || id >= vocabulary) {
      refuse(`token ${id} at position ${position} of the prompt is outside the vocabulary, 0 to ${vocabulary - 1}`)
    }
  }
}

function checkSampling(request: GenerationRequest, { vocabulary, maxContext }: GenerationLimits): void {
  const { prompt, maxTokens, temperature, topP, seed } = request
  whole('maxTokens', maxTokens, 1, Number.MAX_SAFE_INTEGER)
  if (prompt.length + maxTokens > maxContext) {
    refuse(
      `a prompt of ${prompt.length} tokens and maxTokens ${maxTokens} exceed the context of ${maxContext}; ` +
        `at most ${maxContext - prompt.length} tokens can be sampled`,
    )
  }
  if (!(temperature >= 0 && temperature < Infinity)) {
    refuse(`temperature is ${temperature}; it must be 0 (greedy) or a positive number`)
  }
  whole('topK', request.topK, 0, Number.MAX_SAFE_INTEGER, `0 for the whole vocabulary of ${vocabulary}`)
  if (!(topP > 0 && topP <= 1)) refuse(`topP is ${topP}; it must be above 0 and at most 1`)
  if (!/^\d{1,20}$/.test(seed) || BigInt(seed) >= 2n ** 64n) {
    refuse(`seed is ${JSON.stringify(seed)}; it must be a whole number from 0 to 2^64 - 1, in decimal`)
  }
}

function checkStops({ stopTokens, stopStrings }: GenerationRequest, { vocabulary }: GenerationLimits): void {
  const count = stopTokens.length + stopStrings.length
  if (count > MAX_STOPS) refuse(`${count} stop tokens and strings were given; at most ${MAX_STOPS} are accepted`)
  for (const id of stopTokens) {
    if (!Number.isInteger(id) || id < 0 || id >= vocabulary) {
      refuse(`stop token ${id} is outside the vocabulary, 0 to ${vocabulary - 1}`)
    }
  }
  if (stopStrings.includes('')) refuse('a stop string is empty; it would stop before the first token')
}

function whole(name: string, value: number, least: number, most: number, note = ''): void {
  if (Number.isInteger(value) && value >= least && value <= most) return
  const range = most === Number.MAX_SAFE_INTEGER ? `of at least ${least}` : `from ${least} to ${most}`
  refuse(`${name} is ${value}; it must be a whole number ${range}${note && ` (${note})`}`)
}

function refuse(message: string): never {
  throw engineError('INVALID_INPUT', message)
}
