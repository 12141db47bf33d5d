// Durations on a command line, with the flag's name where one cannot be read.

import { durationMs } from '../server/durations.ts'
import { CommandError } from './complaint.ts'

const LONGEST_MS = 10 * 365 * 86_400_000

/** Milliseconds. `flag` is named where the text is none. */
export function duration(text: string, flag: string): number {
  const ms = durationMs(text)
  if (ms !== null && ms <= LONGEST_MS) return ms
  throw new CommandError(
    `${flag} cannot be ${JSON.stringify(text)}.`,
    'Give a number with s, m, h or d behind it, such as 30d, of ten years at most.',
  )
}
