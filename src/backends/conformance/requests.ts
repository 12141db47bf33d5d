// Requests that any engine with a vocabulary of 16 and a context of 64 or more takes, for checks and tests to vary.

import type {
  AdamSpec,
  GenerationRequest,
  GradientClip,
  LoraConfig,
  OptimStep,
  SgdSpec,
  TrainingDatum,
  TrainingItem,
} from '../backend.ts'

export const LORA: LoraConfig = {
  rank: 4,
  alpha: 32,
  seed: '1',
  trainAttention: true,
  trainMlp: true,
  trainUnembed: true,
}

/** A datum whose targets are the next tokens: `datum(5, 6, 7, 8)` teaches 5 -> 6 -> 7 -> 8. */
export function datum(...tokens: number[]): TrainingDatum {
  return { tokens: Int32Array.from(tokens.slice(0, -1)), targets: Int32Array.from(tokens.slice(1)), width: 1 }
}

/** One datum that teaches 5 -> 6 -> 7 -> 8. */
export function trainingItem(operation: string, adapter: string, fields: Partial<TrainingItem> = {}): TrainingItem {
  return {
    operation,
    adapter,
    backward: true,
    loss: { name: 'cross_entropy', config: {} },
    datums: [datum(5, 6, 7, 8)],
    ...fields,
  }
}

export type AdamFields = Partial<Extract<OptimStep, AdamSpec>>
export function optimStep(operation: string, adapter: string, fields: AdamFields = {}): OptimStep {
  return {
    operation,
    adapter,
    rule: 'adamw',
    learningRate: 0.01,
    beta1: 0.9,
    beta2: 0.95,
    epsilon: 1e-12,
    weightDecay: 0,
    clipNorm: 0,
    ...fields,
  }
}

export type SgdFields = Partial<Extract<OptimStep, SgdSpec>>
export function sgdStep(operation: string, adapter: string, fields: SgdFields = {}): OptimStep {
  return {
    operation,
    adapter,
    rule: 'sgd',
    learningRate: 0.01,
    momentum: 0,
    dampening: 0,
    nesterov: false,
    weightDecay: 0,
    clipNorm: 0,
    ...fields,
  }
}

/** Leaves the gradient as it is. */
export function gradientClip(operation: string, adapter: string, fields: Partial<GradientClip> = {}): GradientClip {
  return { operation, adapter, divisor: 1, maxNorm: null, normType: 2, ...fields }
}

/** One sample of 4 tokens at temperature 1 from the base model, after 5 6. */
export function generation(operation: string, fields: Partial<GenerationRequest> = {}): GenerationRequest {
  return {
    operation,
    snapshot: null,
    prompt: Int32Array.of(5, 6),
    samples: 1,
    maxTokens: 4,
    temperature: 1,
    topK: 0,
    topP: 1,
    seed: '7',
    stopTokens: [],
    stopStrings: [],
    promptLogprobs: false,
    topkPromptLogprobs: 0,
    topkSampleLogprobs: 0,
    ...fields,
  }
}

export async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const list: T[] = []
  for await (const item of items) list.push(item)
  return list
}
