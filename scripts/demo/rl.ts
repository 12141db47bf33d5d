// Reinforcement learning: each problem is answered several times, an answer is worth 1 when it is right, and what did
// better than its group becomes likelier.

import {
  type Datum,
  ModelInput,
  type SampledSequence,
  type SamplingClient,
  type ServiceClient,
} from '../../src/client/tinker/index.ts'
import { Chat, exampleOf } from './chat.ts'
import type { Meter } from './meter.ts'
import { type Problem, randomOf } from './problems.ts'
import type { Recipe } from './recipe.ts'
import type { Exchange } from './sft.ts'

export interface RlResult {
  readonly exchanges: readonly Exchange[]
  /** Share of right answers at temperature 1 to problems that were not trained on, before and after. */
  readonly reward: readonly [before: number, after: number]
}

const SHOWN = 3

export async function reinforce(service: ServiceClient, recipe: Recipe, meter: Meter): Promise<RlResult> {
  const { rank, learningRate, steps, groups, groupSize, maxTokens, examSamples } = recipe.rl
  const { draw, exam, isRight } = recipe.rl.problems
  const training = await service.createLoraTrainingClient({ baseModel: recipe.model, rank, seed: 2 })
  const chat = await Chat.of(training, recipe.endToken)
  const random = randomOf(7)

  let sampler = await training.saveWeightsAndGetSamplingClient()
  const before = await examine(sampler)
  for (let step = 0; step < steps; step++) {
    const asked = Array.from({ length: groups }, () => draw(random))
    const prompts = asked.map(({ question }) => chat.prompt(question))
    const drawn = await Promise.all(
      prompts.map((prompt, group) => answers(sampler, prompt, groupSize, step * groups + group)),
    )
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

  async function answers(client: SamplingClient, prompt: number[], numSamples: number, seed: number) {
    const samplingParams = { maxTokens, temperature: 1, seed }
    const { sequences } = await client.sample({ prompt: ModelInput.fromInts(prompt), numSamples, samplingParams })
    return sequences
  }

  function rewardOf(sequence: SampledSequence, { answer }: Problem): number {
    return isRight(chat.text(sequence.tokens), answer) ? 1 : 0
  }

  async function examine(client: SamplingClient): Promise<{ texts: string[]; reward: number }> {
    const prompts = exam.map(({ question }) => chat.prompt(question))
    const drawn = await Promise.all(prompts.map((prompt, seed) => answers(client, prompt, examSamples, seed)))
    const rewards = drawn.flatMap((sequences, i) => sequences.map((sequence) => rewardOf(sequence, exam[i]!)))
    return { texts: drawn.map(([first]) => chat.text(first!.tokens)), reward: mean(rewards) }
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

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / Math.max(1, values.length)
}
