// Rows of Countdown: {nums, target} (the target may be called response): reach a number by calculating with others. What the
// reward needs is noted as the one entry {target, nums}.

import { invalidRow } from '../rows.ts'
import { type MakePreprocess, message } from './preprocessor.ts'

const THINK_FIRST = 'You are a helpful assistant that thinks a problem through before it answers.'

export const CountdownProcessor: MakePreprocess = () => (row) => {
  const nums = row.nums ?? []
  const target = row.response ?? row.target ?? 0
  if (!Array.isArray(nums)) throw invalidRow('has no list of numbers in column "nums"')
  const task = `Write an equation that equals ${target} from the numbers [${nums.join(', ')}]. Each number may be used once, with +, -, * and /.
Put your reasoning between <think> and </think>, then the equation between <answer> and </answer>, such as <answer> (1 + 2) * 3 = 9 </answer>.`
  return { messages: [message('system', THINK_FIRST), message('user', task)], user_data: [{ target, nums }] }
}
