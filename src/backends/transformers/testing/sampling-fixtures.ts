// What the tests of sampling share: golden checkpoints and adapters, a generator over one of them, and requests.

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { type ModelFiles, openModelSource } from '../../../formats/model-folder.ts'
import { openSafetensors } from '../../../formats/safetensors.ts'
import type { GenerationEvent, GenerationRequest } from '../../backend.ts'
import { adaptedProjections, adapterLayout, type Projection } from '../adapter-layout.ts'
import type { Snapshot } from '../adapter-stacks.ts'
import { Compute } from '../compute.ts'
import { Generator, type GeneratorOptions } from '../generator.ts'
import type { TokenBytes } from '../sequence.ts'
import { inlineWeights } from '../weights.ts'

const GOLDENS = new URL('../goldens/', import.meta.url).pathname

export const readGolden = <T>(file: string): T => JSON.parse(readFileSync(join(GOLDENS, file), 'utf8')) as T

export const openGolden = (model: string): ModelFiles => openModelSource(join(GOLDENS, model, 'checkpoint'))

/** Token n is the text `n;`, so that stop strings across token borders are easy to write. */
export const numbers: TokenBytes = { tokenBytes: (id) => new TextEncoder().encode(`${id};`) }

export function createGenerator(files: ModelFiles, options: Partial<GeneratorOptions> = {}): Promise<Generator> {
  const weights = inlineWeights({ ...files, names: () => files.names() }, 'float32')
  const rest = { threads: 1, compute: new Compute(), tokenizer: numbers, log: () => undefined, ...options }
  return Generator.create(files.config, weights, rest)
}

const MODULES: Record<Projection, string> = {
  q: 'self_attn.q_proj',
  k: 'self_attn.k_proj',
  v: 'self_attn.v_proj',
  o: 'self_attn.o_proj',
  gate: 'mlp.gate_proj',
  up: 'mlp.up_proj',
  down: 'mlp.down_proj',
  unembed: 'lm_head',
}

/** A PEFT folder of the goldens as a snapshot. */
export function readSnapshot(files: ModelFiles, model: string, adapter: string): Snapshot {
  const folder = join(GOLDENS, model, 'adapters', adapter)
  const config = JSON.parse(readFileSync(join(folder, 'adapter_config.json'), 'utf8')) as {
    r: number
    lora_alpha: number
    target_modules: string[]
  }
  const has = (name: string) => config.target_modules.includes(name)
  const flags = { trainAttention: has('q_proj'), trainMlp: has('up_proj'), trainUnembed: has('lm_head') }
  const layout = adapterLayout(files.config, adaptedProjections(flags), config.r)
  const params = new Float32Array(layout.size)
  const tensors = openSafetensors(join(folder, 'adapter_model.safetensors'))
  for (const section of layout.sections) {
    for (let layer = 0; layer < section.layers; layer++) {
      const module = section.projection === 'unembed' ? '' : `model.layers.${layer}.`
      const name = `base_model.model.${module}${MODULES[section.projection]}`
      const a = tensors.get(`${name}.lora_A.weight`)?.read() as Float32Array
      const b = tensors.get(`${name}.lora_B.weight`)?.read() as Float32Array
      params.set(a, section.a + layer * config.r * section.in)
      for (let o = 0; o < section.out; o++) {
        for (let r = 0; r < config.r; r++) {
          params[section.b + (layer * config.r + r) * section.out + o] = b[o * config.r + r] as number
        }
      }
    }
  }
  return { layout, params, alpha: config.lora_alpha, hash: `${model}/${adapter}` }
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
): Promise<{ prompt: PromptEvent | undefined; samples: SampleEvent[] }> {
  let prompt: PromptEvent | undefined
  const samples: SampleEvent[] = []
  for await (const event of events) {
    if (event.type === 'prompt') prompt = event
    else samples.push(event)
  }
  return { prompt, samples: samples.sort((a, b) => a.index - b.index) }
}
