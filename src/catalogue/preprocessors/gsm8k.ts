// Rows of GSM8K: {question, answer}; the answer ends with `#### NUMBER`, which is noted under `ground_truth` for the reward.
// Answers are drawn, so the row's own one is left out unless it is asked for.

import { textOf, textOrEmpty } from '../rows.ts'
import { type MakePreprocess, message, system } from './preprocessor.ts'

const STEP_BY_STEP = 'You solve mathematical problems step by step and give the final answer inside \\boxed{}.'
const NUMBER = /####\s*([-\d,.]+)/

export const GSM8KProcessor: MakePreprocess = (args) => {
  const prompt = args.textOrNull('system', null) ?? STEP_BY_STEP
  const addAssistant = args.boolean('add_assistant', false)
  return (row) => {
    const answer = textOrEmpty(row, 'answer')
    const asked = [...system(prompt), message('user', textOf(row, 'question'))]
    return {
      messages: addAssistant ? [...asked, message('assistant', answer)] : asked,
      user_data: [['ground_truth', NUMBER.exec(answer)?.[1]?.replaceAll(',', '') ?? '']],
    }
  }
}
