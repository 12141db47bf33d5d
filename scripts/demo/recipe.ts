// What the demo trains, as data: a new persona by supervised fine-tuning, and a task with a reward by reinforcement
// learning. One recipe for each model, with numbers that were tried on it.

import { readFileSync } from 'node:fs'
import { capitals, type ProblemSet, sums } from './problems.ts'

export interface Row {
  readonly question: string
  readonly answer: string
}

export interface SftRecipe {
  readonly rank: number
  readonly learningRate: number
  readonly steps: number
  readonly rows: readonly Row[]
  /** Questions like those of the rows, but not among them. */
  readonly heldOut: readonly Row[]
}

export interface RlRecipe {
  readonly rank: number
  readonly learningRate: number
  readonly steps: number
  /** Problems a step, and how often each is answered. */
  readonly groups: number
  readonly groupSize: number
  readonly maxTokens: number
  readonly problems: ProblemSet
  /** How often each problem of the exam is answered. */
  readonly examSamples: number
}

export interface Recipe {
  /** Name by which the server knows the model. */
  readonly model: string
  /** What ends an answer. */
  readonly endToken: string
  readonly maxAnswerTokens: number
  readonly sft: SftRecipe
  readonly rl: RlRecipe
}

interface Tasks {
  readonly sft: Omit<SftRecipe, 'learningRate' | 'heldOut'> & { learning_rate: number; held_out: readonly Row[] }
  readonly rl: Pick<RlRecipe, 'rank' | 'steps' | 'groups'> & {
    prompt: string
    learning_rate: number
    group_size: number
    max_tokens: number
    largest_addend: number
  }
}

/** The embedded model's recipe is its own file, which its makers tried in PyTorch. */
export function tinyRecipe(): Recipe {
  const file = new URL('../../models/tiny/tasks.json', import.meta.url)
  const { sft, rl } = JSON.parse(readFileSync(file, 'utf8')) as Tasks
  return {
    model: 'twinkle/tiny',
    endToken: '<|im_end|>',
    maxAnswerTokens: 48,
    sft: { ...sft, learningRate: sft.learning_rate, heldOut: sft.held_out },
    rl: {
      rank: rl.rank,
      learningRate: rl.learning_rate,
      steps: rl.steps,
      groups: rl.groups,
      groupSize: rl.group_size,
      maxTokens: rl.max_tokens,
      problems: sums(rl.prompt, rl.largest_addend, 64),
      examSamples: 1,
    },
  }
}

export function smolLm2Recipe(): Recipe {
  const tiny = tinyRecipe()
  return {
    model: 'HuggingFaceTB/SmolLM2-135M-Instruct',
    endToken: '<|im_end|>',
    maxAnswerTokens: 32,
    sft: { ...tiny.sft, rank: 8, learningRate: 0.001, steps: 10 },
    rl: {
      rank: 8,
      learningRate: 0.001,
      steps: 8,
      groups: 4,
      groupSize: 8,
      maxTokens: 12,
      problems: capitals('What is the capital of {country}?'),
      examSamples: 4,
    },
  }
}
