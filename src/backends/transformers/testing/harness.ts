// Short ways for tests to train: trainers of golden models, items with defaults, outcomes by operation.

import type { LoraConfig, OptimStep, Outcome, TrainingDatum, TrainingItem, TrainingResult } from '../../backend.ts'
import { resolveLoss } from '../../losses.ts'
import { Adapter } from '../adapter.ts'
import { Compute } from '../compute.ts'
import { Trainer, type TrainerOptions, type TrainingWork } from '../trainer.ts'
import { inlineWeights } from '../weights.ts'
import { goldenModel } from './goldens.ts'

export function goldenTrainer(model: string, options: Partial<TrainerOptions> = {}): Promise<Trainer> {
  const files = goldenModel(model)
  return Trainer.create(files.config, inlineWeights(files, 'float32'), {
    threads: 1,
    compute: new Compute(),
    ...options,
  })
}

export const LORA: LoraConfig = {
  rank: 4,
  alpha: 32,
  seed: '1',
  trainAttention: true,
  trainMlp: true,
  trainUnembed: true,
}
export const freshAdapter = (model: string, config: Partial<LoraConfig> = {}) =>
  Adapter.create(goldenModel(model).config, { ...LORA, ...config })

/** The same with a B that is not zero, so that every gradient is alive. */
export function liveAdapter(model: string, config: Partial<LoraConfig> = {}): Adapter {
  const adapter = freshAdapter(model, config)
  const params = adapter.params.slice()
  const noise = freshAdapter(model, { ...config, seed: `${config.seed ?? '1'}7` }).params
  for (const { b, layers, out } of adapter.layout.sections) {
    for (let i = 0; i < layers * adapter.layout.rank * out; i++) {
      params[b + i] = 0.3 * (noise[i % noise.length] as number)
    }
  }
  adapter.replace(params, null)
  return adapter
}

/** A datum of `length` pseudo-random tokens, weights 1. */
export function someDatum(seed: number, length: number, vocabulary = 512): TrainingDatum {
  const token = (i: number) => ((seed * 7919 + i * 104_729 + ((seed + i) ** 2 % 613)) % (vocabulary - 3)) + 3
  return {
    tokens: Int32Array.from({ length }, (_, i) => token(i)),
    targets: Int32Array.from({ length }, (_, i) => token(i + 1)),
    width: 1,
  }
}

let operations = 0
export function item(datums: readonly TrainingDatum[], rest: Partial<TrainingItem> = {}): TrainingItem {
  const operation = `operation-${++operations}`
  return { operation, adapter: 'a', backward: true, loss: resolveLoss('cross_entropy'), datums, ...rest }
}

export async function outcomes(
  trainer: Trainer,
  work: readonly TrainingWork[],
  signal?: AbortSignal,
): Promise<Outcome<TrainingResult>[]> {
  const all: Outcome<TrainingResult>[] = []
  for await (const outcome of trainer.train(work, signal)) all.push(outcome)
  return all
}

/** Results in the order of the work; throws if anything failed. */
export async function results(trainer: Trainer, work: readonly TrainingWork[]): Promise<TrainingResult[]> {
  const all = await outcomes(trainer, work)
  return work.map(({ item: { operation } }) => {
    const outcome = all.find((o) => o.operation === operation)
    if (!outcome || 'error' in outcome) throw new Error(`${operation}: ${outcome?.error.message ?? 'no outcome'}`)
    return outcome.result
  })
}

export const bits = (values: Float32Array | null) =>
  values && Buffer.from(values.buffer, values.byteOffset, values.byteLength).toString('hex')

export const ADAM: OptimStep = {
  operation: 'step',
  adapter: 'a',
  rule: 'adamw',
  learningRate: 1e-3,
  beta1: 0.9,
  beta2: 0.95,
  epsilon: 1e-12,
  weightDecay: 0,
  clipNorm: 0,
}
