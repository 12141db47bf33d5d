// What a generation request must keep for a model of a given vocabulary and context. Pure; the server asks before it
// accepts a request, the engine asks again. Each refusal names the field, what it was and what is accepted.

import type { EngineInfo, GenerationRequest, PromptTargets } from '../backend.ts'
import { engineError } from '../engine-errors.ts'

export type GenerationLimits = Pick<EngineInfo, 'vocabulary' | 'maxContext' | 'maxTopK'>

/** Most sequences of one request, and most stop tokens and stop strings. */
const MAX_SAMPLES = 4096
const MAX_STOPS = 1024
/** Most tokens that may be scored, and most that may be drawn, at one position of a prompt. */
const MAX_TARGETS = 1024
const MAX_DRAWS = 128

/** Throws an EngineError INVALID_INPUT for the first thing that is wrong. */
export function checkGeneration(request: GenerationRequest, limits: GenerationLimits): void {
  const { prompt, samples, promptDraws = 0 } = request
  checkPrompt(prompt, limits)
  whole('samples', samples, 0, MAX_SAMPLES)
  whole('promptDraws', promptDraws, 0, MAX_DRAWS)
  if (samples > 0) checkSampling(request, limits)
  if (samples > 0 || promptDraws > 0) checkRandomness(request)
  whole('scorePromptFrom', request.scorePromptFrom ?? 1, 1, Math.max(1, prompt.length - 1))
  if (request.promptTargets) checkTargets(request.promptTargets, prompt.length, limits)
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

function checkTargets({ starts, ids }: PromptTargets, length: number, { vocabulary }: GenerationLimits): void {
  if (starts.length !== length || starts[0] !== 0 || starts[length - 1] !== ids.length) {
    refuse(`promptTargets has ${starts.length} starts for ${ids.length} tokens; a prompt of ${length} needs ${length}`)
  }
  for (let i = 1; i < length; i++) {
    const count = (starts[i] as number) - (starts[i - 1] as number)
    if (count < 0) refuse(`promptTargets has falling starts at position ${i}`)
    if (count > MAX_TARGETS)
      refuse(`promptTargets has ${count} tokens at position ${i}; at most ${MAX_TARGETS} are scored`)
  }
  const bad = ids.findIndex((id) => id < 0 || id >= vocabulary)
  if (bad >= 0) refuse(`token ${ids[bad]} of promptTargets is outside the vocabulary, 0 to ${vocabulary - 1}`)
}

function checkRandomness({ temperature, seed }: GenerationRequest): void {
  if (!(temperature >= 0 && temperature < Infinity)) {
    refuse(`temperature is ${temperature}; it must be 0 (greedy) or a positive number`)
  }
  if (!/^\d{1,20}$/.test(seed) || BigInt(seed) >= 2n ** 64n) {
    refuse(`seed is ${JSON.stringify(seed)}; it must be a whole number from 0 to 2^64 - 1, in decimal`)
  }
}

function checkSampling(request: GenerationRequest, { vocabulary, maxContext }: GenerationLimits): void {
  const { prompt, maxTokens, topP } = request
  whole('maxTokens', maxTokens, 1, Number.MAX_SAFE_INTEGER)
  if (prompt.length + maxTokens > maxContext) {
    refuse(
      `a prompt of ${prompt.length} tokens and maxTokens ${maxTokens} exceed the context of ${maxContext}; ` +
        `at most ${maxContext - prompt.length} tokens can be sampled`,
    )
  }
  whole('topK', request.topK, 0, Number.MAX_SAFE_INTEGER, `0 for the whole vocabulary of ${vocabulary}`)
  if (!(topP > 0 && topP <= 1)) refuse(`topP is ${topP}; it must be above 0 and at most 1`)
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
