// Supervised fine-tuning: the same few rows again and again, until the model answers as they do.

import type { ServiceClient } from '../../src/client/tinker/index.ts'
import { Chat, exampleOf } from './chat.ts'
import type { Meter } from './meter.ts'
import type { Recipe } from './recipe.ts'

export interface Exchange {
  readonly question: string
  readonly before: string
  readonly after: string
}

export interface SftResult {
  readonly exchanges: readonly Exchange[]
  /** A sampler checkpoint of the trained weights. */
  readonly path: string
}

export async function fineTune(service: ServiceClient, recipe: Recipe, meter: Meter): Promise<SftResult> {
  const { rank, learningRate, steps, rows, heldOut } = recipe.sft
  const training = await service.createLoraTrainingClient({ baseModel: recipe.model, rank, seed: 1 })
  const chat = await Chat.of(training, recipe.endToken)
  const shown = [...rows.slice(0, 1), ...heldOut.slice(0, 1)].map((row) => row.question)
  const before = await answers(await training.saveWeightsAndGetSamplingClient())

  const data = rows.map(({ question, answer }) => {
    const tokens = chat.answer(answer)
    return exampleOf(chat.prompt(question), tokens, { weights: tokens.map(() => 1) })
  })
  const targets = rows.reduce((sum, { answer }) => sum + chat.answer(answer).length, 0)
  const tokens = data.reduce((sum, { modelInput }) => sum + modelInput.length, 0)
  for (let step = 0; step < steps; step++) {
    // Both are submitted before the first result is awaited: the server never waits for this loop.
    const forwardBackward = training.forwardBackward(data, 'cross_entropy')
    const optimStep = training.optimStep({ learningRate })
    const { metrics } = await forwardBackward
    await optimStep
    meter.step(metrics['loss:sum']! / targets, tokens)
  }

  const after = await answers(await training.saveWeightsAndGetSamplingClient())
  const { path } = await training.saveWeightsForSampler(`demo-sft-${Date.now()}`)
  return { exchanges: shown.map((question, i) => ({ question, before: before[i]!, after: after[i]! })), path }

  function answers(client: Parameters<Chat['ask']>[0]): Promise<string[]> {
    return Promise.all(shown.map((question) => chat.ask(client, question, recipe.maxAnswerTokens)))
  }
}
