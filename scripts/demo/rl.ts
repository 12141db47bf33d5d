// Reinforcement learning: the model answers sums in groups, an answer is worth 1 when it is right, and what did better
// than its group becomes likelier.

import {
  type Datum,
  ModelInput,
  type SampledSequence,
  type SamplingClient,
  type ServiceClient,
} from '../../src/client/tinker/index.ts'
import { Chat, exampleOf } from './chat.ts'
import type { Meter } from './meter.ts'
import type { Recipe, RlRecipe } from './recipe.ts'
import type { Exchange } from './sft.ts'

interface Problem {
  readonly question: string
  readonly answer: string
}

export interface RlResult {
  readonly exchanges: readonly Exchange[]
  /** Share of right answers at temperature 1 to problems that were not trained on, before and after. */
  readonly reward: readonly [before: number, after: number]
}

const EXAM_PROBLEMS = 64
const SHOWN = 3

export async function reinforce(service: ServiceClient, recipe: Recipe, meter: Meter): Promise<RlResult> {
  const { rank, learningRate, steps, groups, groupSize, maxTokens } = recipe.rl
  const training = await service.createLoraTrainingClient({ baseModel: recipe.model, rank, seed: 2 })
  const chat = await Chat.of(training, recipe.endToken)
  const exam = problems(recipe.rl, EXAM_PROBLEMS, randomOf(1000))
  const random = randomOf(7)

  let sampler = await training.saveWeightsAndGetSamplingClient()
  const before = await examine(sampler)
  for (let step = 0; step < steps; step++) {
    const asked = problems(recipe.rl, groups, random)
    const prompts = asked.map(({ question }) => chat.prompt(question))
    const drawn = await Promise.all(prompts.map((prompt, group) => draw(sampler, prompt, step * groups + group)))
    const rewards = drawn.map((sequences, group) => sequences.map((one) => rewardOf(one, asked[group]!)))
    const data = drawn.flatMap((sequences, group) => examples(prompts[group]!, sequences, rewards[group]!))
    if (data.length > 0) {
      const forwardBackward = training.forwardBackward(data, 'importance_sampling')
      const optimStep = training.optimStep({ learningRate })
      const next = training.saveWeightsAndGetSamplingClient()
      await forwardBackward
      await optimStep
      sampler = await next
    }
    const sampled = drawn.flat().reduce((sum, { tokens }) => sum + tokens.length, 0)
    const trained = data.reduce((sum, { modelInput }) => sum + modelInput.length, 0)
    meter.step(mean(rewards.flat()), sampled + trained)
  }
  const after = await examine(sampler)
  const exchanges = exam.slice(0, SHOWN).map(({ question }, i) => ({
    question,
    before: before.texts[i]!,
    after: after.texts[i]!,
  }))
  return { exchanges, reward: [before.reward, after.reward] }

  async function draw(client: SamplingClient, prompt: number[], seed: number): Promise<readonly SampledSequence[]> {
    const samplingParams = { maxTokens, temperature: 1, seed }
    const request = { prompt: ModelInput.fromInts(prompt), numSamples: groupSize, samplingParams }
    return (await client.sample(request)).sequences
  }

  function rewardOf(sequence: SampledSequence, { answer }: Problem): number {
    return chat.text(sequence.tokens).trim() === answer ? 1 : 0
  }

  async function examine(client: SamplingClient): Promise<{ texts: string[]; reward: number }> {
    const answers = await Promise.all(
      exam.map(async ({ question }, seed) => {
        const prompt = ModelInput.fromInts(chat.prompt(question))
        const { sequences } = await client.sample({ prompt, samplingParams: { maxTokens, seed } })
        return sequences[0]!
      }),
    )
    const reward = mean(answers.map((sequence, i) => rewardOf(sequence, exam[i]!)))
    return { texts: answers.map((sequence) => chat.text(sequence.tokens)), reward }
  }
}

/** Advantages are rewards less the group's mean; a group that agrees with itself teaches nothing. */
function examples(prompt: number[], sequences: readonly SampledSequence[], rewards: readonly number[]): Datum[] {
  const baseline = mean(rewards)
  if (rewards.every((reward) => reward === baseline)) return []
  return sequences.map(({ tokens, logprobs }, i) => {
    const advantages = tokens.map(() => rewards[i]! - baseline)
    return exampleOf(prompt, tokens, { logprobs, advantages })
  })
}

function problems(recipe: RlRecipe, count: number, random: () => number): Problem[] {
  return Array.from({ length: count }, () => {
    const a = Math.floor(random() * (recipe.largestAddend + 1))
    const b = Math.floor(random() * (recipe.largestAddend + 1))
    const question = recipe.prompt.replace('{a}', String(a)).replace('{b}', String(b))
    return { question, answer: String(a + b) }
  })
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / Math.max(1, values.length)
}

/** Numbers in [0, 1), the same for the same seed (mulberry32). */
function randomOf(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}
