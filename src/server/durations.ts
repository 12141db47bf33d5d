// Durations as people write them, in settings and on the command line: 90s, 45m, 12h, 30d.

const UNITS: Readonly<Record<string, number>> = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 }

/** Milliseconds; null where the text is no duration. */
export function durationMs(text: string): number | null {
  const [, count, unit = ''] = /^(\d{1,9})([smhd])$/.exec(text.trim()) ?? []
  return count === undefined ? null : Number(count) * (UNITS[unit] as number)
}
