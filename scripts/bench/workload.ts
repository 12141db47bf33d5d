// What the bench asks of a server, through the TypeScript client. The same tokens, ranks and sizes for every model.

import {
  ModelInput,
  type SamplingClient,
  type ServiceClient,
  type TrainingClient,
} from '../../src/client/tinker/index.ts'
import { timed } from './measure.ts'

const ROWS = 8
const ROW_TOKENS = 64
const RANK = 8
const SAMPLE_TOKENS = 64
/** Ids that every model here has, and that end nothing. */
const token = (i: number) => 100 + ((i * 37) % 150)

const batch = Array.from({ length: ROWS }, (_, row) => {
  const tokens = Array.from({ length: ROW_TOKENS + 1 }, (_, i) => token(row * 1009 + i))
  return {
    modelInput: ModelInput.fromInts(tokens.slice(0, -1)),
    lossFnInputs: { target_tokens: tokens.slice(1), weights: tokens.slice(1).map(() => 1) },
  }
})

export const newAdapter = (service: ServiceClient, baseModel: string, seed: number): Promise<TrainingClient> =>
  service.createLoraTrainingClient({ baseModel, rank: RANK, seed })

/** Milliseconds from submitting an optim_step without gradients to its result: an operation with nothing to compute. */
export const overhead = (training: TrainingClient): Promise<number> => timed(() => training.optimStep())

export const firstPass = (training: TrainingClient): Promise<number> =>
  timed(() => training.forwardBackward(batch, 'cross_entropy'))

/** Tokens a second of all adapters together, each with a batch of 8 x 64 and a step, `steps` times. */
export async function trainingRate(adapters: readonly TrainingClient[], steps: number): Promise<number> {
  const ms = await timed(async () => {
    for (let step = 0; step < steps; step++) {
      const results = adapters.flatMap((training) => [
        training.forwardBackward(batch, 'cross_entropy'),
        training.optimStep({ learningRate: 1e-4 }),
      ])
      await Promise.all(results)
    }
  })
  return (adapters.length * steps * ROWS * ROW_TOKENS) / (ms / 1000)
}

/** Sampled tokens a second of `clients` requests at once. */
export async function samplingRate(sampler: SamplingClient, clients: number, seed: number): Promise<number> {
  const prompt = ModelInput.fromInts(Array.from({ length: 32 }, (_, i) => token(i)))
  const draw = (client: number) =>
    sampler.sample({ prompt, samplingParams: { maxTokens: SAMPLE_TOKENS, stop: [], seed: seed * 1000 + client } })
  const ms = await timed(() => Promise.all(Array.from({ length: clients }, (_, client) => draw(client))))
  return (clients * SAMPLE_TOKENS) / (ms / 1000)
}
