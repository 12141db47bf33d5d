// Answers to GSM8K: a number in \boxed{}, or after ####; the right one is noted under `ground_truth`.

import { lastBoxed } from './boxed.ts'
import { each, type MakeReward, noted } from './reward.ts'

const HASHES = /####\s*([-\d,.\s]+)/g
/** Only the end of a completion is looked at, in characters. */
const TAIL = 500

/** 1 for the right number, else 0. */
export const GSM8KAccuracyReward: MakeReward = () =>
  each((completion, row) => {
    const right = String(noted(row, 'ground_truth') ?? '')
    const answer = answerIn(completion.slice(-TAIL))
    return answer !== '' && right !== '' && isSame(answer, right) ? 1 : 0
  })

/** 1 where there is an answer in one of the two ways, else 0. */
export const GSM8KFormatReward: MakeReward = () =>
  each((completion) => (lastBoxed(completion) || /####\s*[-\d,.]/.test(completion) ? 1 : 0))

function answerIn(text: string): string {
  const answer = lastBoxed(text) || [...text.matchAll(HASHES)].at(-1)?.[1] || ''
  return answer.replace(/[,\s]/g, '')
}

function isSame(answer: string, right: string): boolean {
  const [a, b] = [Number(answer), Number(right)]
  return Number.isFinite(a) && Number.isFinite(b) ? Math.abs(a - b) < 1e-5 : answer === right
}
