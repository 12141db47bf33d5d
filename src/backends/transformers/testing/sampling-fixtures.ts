// What the tests of sampling share: generators over golden or random models, requests, and the gathering of events.

import type { GenerationEvent, GenerationRequest } from '../../backend.ts'
import { Compute } from '../compute.ts'
import { Generator, type GeneratorOptions } from '../generator.ts'
import type { SamplingModel } from '../sampling-graph.ts'
import type { TokenBytes } from '../sequence.ts'
import { inlineWeights, type WeightSource } from '../weights.ts'
import { goldenModel } from './goldens.ts'
import { ODD_MODEL, randomWeights } from './random-model.ts'

/** Token n is the text `n;`, so that stop strings across token borders are easy to write. */
const numbers: TokenBytes = { tokenBytes: (id) => new TextEncoder().encode(`${id};`) }

export function createGenerator(
  config: SamplingModel,
  source: WeightSource,
  options: Partial<GeneratorOptions> = {},
): Promise<Generator> {
  const rest = { threads: 1, compute: new Compute(), tokenizer: numbers, log: () => undefined, ...options }
  return Generator.create(config, inlineWeights(source, 'float32'), rest)
}

export function goldenGenerator(model: string, options: Partial<GeneratorOptions> = {}): Promise<Generator> {
  const files = goldenModel(model)
  return createGenerator(files.config, files, options)
}

/** Random weights. A vocabulary above 1024 does not come back as a whole; 3001 is no multiple of anything. */
export function oddGenerator(vocabulary: number, options: Partial<GeneratorOptions> = {}): Promise<Generator> {
  const config = { ...ODD_MODEL, vocabulary }
  return createGenerator(config, randomWeights(config), options)
}

let operations = 0
/** A greedy request for 8 tokens unless said otherwise. */
export function request(prompt: readonly number[], changes: Partial<GenerationRequest> = {}): GenerationRequest {
  return {
    operation: `test-${operations++}`,
    snapshot: null,
    prompt: Int32Array.from(prompt),
    samples: 1,
    maxTokens: 8,
    temperature: 0,
    topK: 0,
    topP: 1,
    seed: '1',
    stopTokens: [],
    stopStrings: [],
    promptLogprobs: false,
    topkPromptLogprobs: 0,
    topkSampleLogprobs: 0,
    ...changes,
  }
}

export type PromptEvent = Extract<GenerationEvent, { type: 'prompt' }>
export type SampleEvent = Extract<GenerationEvent, { type: 'sample' }>

/** All events of a request; samples in order of their index. */
export async function collect(
  events: AsyncIterable<GenerationEvent>,
): Promise<{ prompt: PromptEvent | undefined; cachedTokens: number; samples: SampleEvent[] }> {
  let prompt: PromptEvent | undefined
  const samples: SampleEvent[] = []
  let cachedTokens = 0
  for await (const event of events) {
    if (event.type === 'prompt') prompt = event
    else if (event.type === 'prefix') cachedTokens = event.cachedTokens
    else if (event.type === 'sample') samples.push(event)
  }
  return { prompt, cachedTokens, samples: samples.sort((a, b) => a.index - b.index) }
}
