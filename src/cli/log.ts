// The log of a server that was started by hand: pino on stderr, so that stdout ends with the ready block. JSON lines for
// machines; on a terminal one short line each.

import colors from 'picocolors'
import pino, { type Logger } from 'pino'
import type { LogLevel } from '../server/config.ts'

export interface LogTarget {
  readonly isTTY?: boolean
  write(text: string): unknown
}

export function createLog(level: LogLevel, target: LogTarget = process.stderr): Logger {
  const options = { level, base: null, timestamp: pino.stdTimeFunctions.isoTime }
  const write = target.isTTY ? (line: string) => target.write(short(line)) : (line: string) => target.write(line)
  return pino(options, { write })
}

const LEVELS: Readonly<Record<number, string>> = {
  10: colors.dim('trace'),
  20: colors.dim('debug'),
  30: colors.green('info '),
  40: colors.yellow('warn '),
  50: colors.red('error'),
}

function short(line: string): string {
  const { level, time, msg, ...rest } = JSON.parse(line) as Record<string, unknown>
  const fields = Object.entries(rest).map(([key, value]) => colors.dim(`${key}=${plain(value)}`))
  const words = [colors.dim(String(time).slice(11, 19)), LEVELS[Number(level)] ?? '', msg, ...fields]
  return `${words.filter((word) => word !== undefined && word !== '').join(' ')}\n`
}

function plain(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value)
}
