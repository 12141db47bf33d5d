// What a reward is: one number for each conversation, from what the assistant said last and what the row noted as right.
// Pure: a reward is made from a name and arguments.

import type { Arguments } from '../arguments.ts'
import { isRow, isTrajectory, type Row } from '../rows.ts'

/**
 * @param trajectories Conversations with their answers.
 * @param groundTruths Rows with what is right, one for each; only some rewards want them, others read `user_data`.
 */
export type Reward = (trajectories: readonly Row[], groundTruths?: readonly Row[]) => number[]

export type MakeReward = (args: Arguments) => Reward

/** A reward that looks at one conversation at a time. */
export const each =
  (reward: (completion: string, row: Row) => number): Reward =>
  (rows) =>
    rows.map((row) => reward(completionOf(row), row))

/** What the assistant said last; empty where it said nothing. */
export function completionOf(row: Row): string {
  if (!isTrajectory(row)) return ''
  return textOf(row.messages.findLast(({ role }) => role === 'assistant')?.content)
}

/** A text, or the texts among parts. */
export function textOf(content: unknown): string {
  if (typeof content === 'string') return content
  if (!Array.isArray(content)) return ''
  return content.map((part) => (isRow(part) && typeof part.text === 'string' ? part.text : '')).join('')
}

/** What was noted under a name as it stands there; undefined where nothing was. */
export function noted(row: Row, name: string): unknown {
  if (!Array.isArray(row.user_data)) return undefined
  return row.user_data.find((entry) => Array.isArray(entry) && entry[0] === name)?.[1]
}
