// What the clients of a crash test do, round by round: the same numbers every time, so that a life with deaths in it can be
// laid beside one without. One tenant works step by step on a model of its own; the others crowd a model together and wait
// for nothing. Knows the TypeScript client; knows nothing of kills.

import { type Datum, ModelInput, ServiceClient, type TrainingClient } from '../../src/client/tinker/index.ts'

const RANK = 8
const STEPS = 3
const ROWS = 4
const ROW_TOKENS = 32
const LEARNING_RATE = 1e-3

/** What a round of one tenant gave, as plain numbers. */
export type Account = readonly (number | readonly number[])[]

export interface Tenant {
  readonly name: string
  /** Every operation awaited, alone on its model: then nothing but the operations decides the bits. */
  readonly isAlone: boolean
  round(index: number): Promise<Account>
  /** Log-probabilities under the weights of this moment. */
  look(): Promise<number[]>
  /** Saves the state under a name; gives its path. */
  save(name: string): Promise<string>
  close(): Promise<void>
}

export interface Where {
  readonly url: string
  readonly fetch: (url: string, init: RequestInit) => Promise<Response>
}

export async function newTenant(where: Where, name: string, baseModel: string, isAlone: boolean): Promise<Tenant> {
  // Servers that die are what this is about: no word of it, and no end of patience.
  const calm = { onMessage: () => {}, firstAnswerMs: 300_000 }
  const service = new ServiceClient({ baseUrl: where.url, apiKey: `tml-${name}`, fetch: where.fetch, ...calm })
  const seed = numberOf(name)
  const training = await service.createLoraTrainingClient({ baseModel, rank: RANK, seed })
  const base = await service.createSamplingClient({ baseModel })
  const drawFrom = (sampler: typeof base, index: number) => sampler.sample(prompt(seed + index))
  return {
    name,
    isAlone,
    round: async (index) => {
      const work = isAlone ? stepByStep(training, seed, index) : allAtOnce(training, seed, index)
      const samples = isAlone ? [] : [0, 1].map((i) => drawFrom(base, 2 * index + i))
      const account = await work
      const own = await training.saveWeightsAndGetSamplingClient()
      const drawn = await Promise.all([...samples, drawFrom(own, index)])
      return [...account, ...drawn.flatMap(({ sequences }) => sequences.map(({ tokens }) => tokens))]
    },
    look: async () => logprobsOf(await training.forward(batch(seed, 0), 'cross_entropy')),
    save: async (as) => (await training.saveState(as)).path,
    close: () => service.close(),
  }
}

async function stepByStep(training: TrainingClient, seed: number, round: number): Promise<Account> {
  const account: (number | readonly number[])[] = []
  for (let step = 0; step < STEPS; step++) {
    const data = batch(seed, round * STEPS + step)
    account.push(logprobsOf(await training.forwardBackward(data, 'cross_entropy')))
    const { metrics } = await training.optimStep({ learningRate: LEARNING_RATE })
    account.push(metrics.optimizer_step ?? Number.NaN)
  }
  return account
}

/** Gives the numbers of the steps only: bits depend on who shared the batch. */
async function allAtOnce(training: TrainingClient, seed: number, round: number): Promise<Account> {
  const steps = []
  for (let step = 0; step < STEPS; step++) {
    const data = batch(seed, round * STEPS + step)
    void training.forwardBackward(data.slice(0, 2), 'cross_entropy')
    void training.forwardBackward(data.slice(2), 'cross_entropy')
    steps.push(training.optimStep({ learningRate: LEARNING_RATE }))
  }
  return (await Promise.all(steps)).map(({ metrics }) => metrics.optimizer_step ?? Number.NaN)
}

function batch(seed: number, index: number): Datum[] {
  return Array.from({ length: ROWS }, (_, row) => {
    const tokens = Array.from({ length: ROW_TOKENS + 1 }, (_, i) => token(seed * 31 + index * 7 + row * 1009 + i))
    return {
      modelInput: ModelInput.fromInts(tokens.slice(0, -1)),
      lossFnInputs: { target_tokens: tokens.slice(1), weights: tokens.slice(1).map(() => 1) },
    }
  })
}

function prompt(seed: number) {
  const tokens = Array.from({ length: 16 }, (_, i) => token(seed + i))
  return { prompt: ModelInput.fromInts(tokens), numSamples: 2, samplingParams: { maxTokens: 24, stop: [], seed } }
}

/** Ids that every model has, and that end nothing. */
const token = (i: number) => 100 + ((i * 37) % 150)
const numberOf = (name: string) => [...name].reduce((sum, letter) => (sum * 31 + letter.charCodeAt(0)) % 10_007, 7)

type Output = Awaited<ReturnType<TrainingClient['forward']>>
const logprobsOf = ({ lossFnOutputs }: Output) => lossFnOutputs.flatMap(({ logprobs }) => [...(logprobs?.data ?? [])])
