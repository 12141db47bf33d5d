// Answers to mathematical problems, compared by value where both can be read as expressions, else as texts.

import { isTrajectory, type Row } from '../rows.ts'
import { lastBoxed } from './boxed.ts'
import { evaluate } from './expression.ts'
import { type MakeReward, noted, textOf } from './reward.ts'

/** Values of letters at which expressions are compared: nothing special about them, so that what agrees there is the same. */
const POINTS = [0.7390851, 1.6180339, 2.2360679]
const TOLERANCE = 1e-9
const MARK = '# Answer'

/**
 * 1 for a last message whose answer equals the right one, else 0. The right one is noted in the row of ground truths under
 * `ground_truth_key`, or is what that row's last message says.
 */
export const MathReward: MakeReward = (args) => {
  const key = args.text('ground_truth_key', 'solution')
  return (trajectories, groundTruths = trajectories) =>
    trajectories.map((row, i) => {
      const truth = groundTruths[i] ?? {}
      const right = noted(truth, key)
      return isSame(answerIn(lastContent(row)), answerIn(right === undefined ? lastContent(truth) : textOf(right)))
        ? 1
        : 0
    })
}

function lastContent(row: Row): string {
  return isTrajectory(row) ? textOf(row.messages.at(-1)?.content) : ''
}

function answerIn(text: string): string {
  const behind = text.includes(MARK) ? (text.split(MARK)[1] as string) : text
  return (lastBoxed(behind) ?? behind).replace(/\\[()[\]]|\$/g, '').trim()
}

export function isSame(a: string, b: string): boolean {
  if (a.replace(/\s/g, '') === b.replace(/\s/g, '')) return true
  return POINTS.every((point) => {
    const letters = (name: string) => point + (name.codePointAt(0) as number) / 100
    const [x, y] = [evaluate(a, letters), evaluate(b, letters)]
    return x !== null && y !== null && Math.abs(x - y) <= TOLERANCE * Math.max(1, Math.abs(x), Math.abs(y))
  })
}
