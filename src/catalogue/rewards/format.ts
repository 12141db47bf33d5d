// Did the answer think and then answer, each between its tags?

import { each, type MakeReward } from './reward.ts'

/** 1 where there is <think>...</think> and <answer>...</answer>, in whatever order; else 0. */
export const FormatReward: MakeReward = () => each((text) => (has(text, 'think') && has(text, 'answer') ? 1 : 0))

function has(text: string, tag: string): boolean {
  const at = text.indexOf(`<${tag}>`)
  return at >= 0 && text.indexOf(`</${tag}>`, at) >= 0
}
