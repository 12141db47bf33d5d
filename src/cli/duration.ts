// Durations as people write them on a command line: 90s, 45m, 12h, 30d.

import { CommandError } from './complaint.ts'

const UNITS: Readonly<Record<string, number>> = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 }
const LONGEST_MS = 10 * 365 * 86_400_000

/** Milliseconds. `flag` is named where the text is none. */
export function duration(text: string, flag: string): number {
  const [, count, unit] = /^(\d+)([smhd])$/.exec(text.trim()) ?? []
  const ms = Number(count) * (UNITS[unit ?? ''] ?? Number.NaN)
  if (ms >= 0 && ms <= LONGEST_MS) return ms
  throw new CommandError(
    `${flag} cannot be ${JSON.stringify(text)}.`,
    'Give a number with s, m, h or d behind it, such as 30d, of ten years at most.',
  )
}
