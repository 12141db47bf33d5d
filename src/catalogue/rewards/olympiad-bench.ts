// Rewards for OlympiadBench, each from 0 to 1: is the answer right, is it given as asked, is its reasoning worth reading.
// The weights and bounds are Twinkle's, so that runs can be compared.

import { invalidRow } from '../rows.ts'
import { boxedIn } from './boxed.ts'
import { normalAnswer, separateAnswers } from './olympiad-answer.ts'
import { each, type MakeReward, noted } from './reward.ts'

/** Of each answer that was given with each that is right. */
const MOST_COMPARISONS = 10_000

/**
 * 1 for the right answer; for a number that is not right, 0.99 exp(-5 relative error); else 0. Where several answers are asked
 * for (`is_multiple_answer`), the share of them that was given.
 */
export const OlympiadBenchAccuracyReward: MakeReward = () =>
  each((completion, row) => {
    const given = boxedIn(completion).map(normalAnswer)
    const right = separateAnswers(String(noted(row, 'ground_truth') ?? '')).map(normalAnswer)
    const [last, first] = [given.at(-1), right[0]]
    if (last === undefined || first === undefined) return 0
    if (noted(row, 'is_multiple_answer')) {
      if (given.length * right.length > MOST_COMPARISONS) throw tooMany(given.length, right.length)
      return right.filter((answer) => given.some((one) => isRight(one, answer))).length / right.length
    }
    return isRight(last, first) ? 1 : 0.99 * similarity(last, first)
  })

const tooMany = (given: number, right: number) =>
  invalidRow(`has ${given} boxed answers and ${right} right ones: more than ${MOST_COMPARISONS} comparisons`)

/** An answer in a box 0.4; near the end 0.3; always the same one 0.3, more than two different ones -0.3. */
export const OlympiadBenchFormatReward: MakeReward = () =>
  each((completion) => {
    const answers = boxedIn(completion)
    if (answers.length === 0) return 0
    const isAtEnd = completion.length - completion.lastIndexOf('\\boxed{') < 200
    const different = new Set(answers.map(normalAnswer)).size
    return Math.max(0, 0.4 + (isAtEnd ? 0.3 : 0) + (different === 1 ? 0.3 : different > 2 ? -0.3 : 0))
  })

/** 0.4 reasoning + 0.3 length + 0.3 little repetition. */
export const OlympiadBenchQualityReward: MakeReward = () =>
  each((text) => 0.4 * reasoning(text) + 0.3 * lengthScore(text.length) + 0.3 * variety(text))

/** Within 1 % of a number, or 0.0001 of it. */
function isRight(given: string, right: string): boolean {
  if (given === right) return true
  const error = errorOf(given, right)
  return error !== null && (error.absolute < 1e-4 || error.relative < 0.01)
}

function similarity(given: string, right: string): number {
  const error = errorOf(given, right)
  return error === null ? 0 : Math.exp(-5 * error.relative)
}

/** null where one of them is no number. The error relative to 0 is infinite, but for what is 0 as nearly. */
function errorOf(given: string, right: string): { absolute: number; relative: number } | null {
  const [a, b] = [number(given), number(right)]
  if (!Number.isFinite(a) || !Number.isFinite(b)) return null
  const absolute = Math.abs(a - b)
  return { absolute, relative: b === 0 ? (absolute < 0.01 ? 0 : Number.POSITIVE_INFINITY) : absolute / Math.abs(b) }
}

const number = (text: string) => (text === '' ? Number.NaN : Number(text))

const STEPS =
  /第[一二三四五六七八九十\d]+步|Step\s*\d+|首先|其次|然后|最后|因此|所以|First|Then|Finally|Therefore|Hence/i
const CONCLUSION = /所以|因此|答案|故|得|Thus|Therefore|Answer/i

/** A quarter for each: three equations, five operators, words of order, a conclusion before the last box. */
function reasoning(text: string): number {
  const equations = count(text, /(?<![=!<>])=(?!=)/g) >= 3
  const operators = count(text, /[+\-*/^]|\\frac|\\sqrt/g) >= 5
  const end = text.slice(-500)
  const concludes = CONCLUSION.test(end.slice(0, Math.max(0, end.lastIndexOf('\\boxed'))))
  return [equations, operators, STEPS.test(text), concludes].filter(Boolean).length / 4
}

/** 1 from 300 to 1500 characters, less on both sides. */
function lengthScore(length: number): number {
  if (length < 100) return (length / 100) * 0.3
  if (length < 300) return 0.3 + ((length - 100) / 200) * 0.7
  if (length <= 1500) return 1
  if (length <= 3000) return 0.5 + 0.5 * Math.cos((((length - 1500) / 1500) * Math.PI) / 2)
  return 0.5 * (1 - 0.5 * Math.min((length - 3000) / 3000, 1))
}

/** The share of different pieces of 50 characters, and of different runs of four words; their mean. */
function variety(text: string): number {
  if (text.length < 100) return 1
  const pieces = Array.from({ length: Math.ceil((text.length - 50) / 25) }, (_, i) => text.slice(i * 25, i * 25 + 50))
  const words = text.trim().split(/\s+/)
  const runs = words.slice(3).map((_, i) => words.slice(i, i + 4).join(' '))
  return (shareOfDifferent(pieces) + shareOfDifferent(runs)) / 2
}

const shareOfDifferent = (list: readonly string[]) => (list.length ? new Set(list).size / list.length : 1)
const count = (text: string, pattern: RegExp) => [...text.matchAll(pattern)].length
