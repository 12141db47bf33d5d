// Rows of competition_math: {problem, solution}. One form is to learn from, the other to draw answers to: its solution is
// noted under `solution` for the reward.

import { textOf } from '../rows.ts'
import { type MakePreprocess, message } from './preprocessor.ts'

const ANSWER_ONLY = 'You solve mathematical problems. Write the final answer as \\boxed{...}, and nothing else.'

export const CompetitionMathProcessor: MakePreprocess = () => (row) => ({
  messages: [message('user', textOf(row, 'problem')), message('assistant', textOf(row, 'solution'))],
})

export const CompetitionMathGRPOProcessor: MakePreprocess = () => (row) => ({
  messages: [message('system', ANSWER_ONLY), message('user', textOf(row, 'problem')), message('assistant', '')],
  user_data: [['solution', textOf(row, 'solution')]],
})
