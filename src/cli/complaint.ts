// Turns whatever was thrown into the one line a user sees: what is wrong, and what to do next. Errors of the project
// carry their own next step; those of the operating system get theirs here. No stack trace unless it was asked for.

import { absentPackage } from '../server/missing-package.ts'

export interface Complaint {
  readonly message: string
  readonly next: string
}

/** An error that a command raises on purpose. */
export class CommandError extends Error implements Complaint {
  override readonly name = 'CommandError'
  readonly next: string
  constructor(message: string, next: string) {
    super(message)
    this.next = next
  }
}

const NEXT: Readonly<Record<string, string>> = {
  EACCES: 'Check who may read or write there.',
  ENOTDIR: 'Choose another folder with --state-dir.',
  ENOSPC: 'Free some space, or choose another folder with --state-dir.',
  FILE_MISSING: 'Check the path behind --model.',
  FILE_CORRUPT: 'Fetch the model again, or choose another one with --model.',
  NOT_SUPPORTED: 'Choose a model of a supported kind.',
  MISSING_PACKAGE:
    'Install it with `npm install onnxruntime-node`, or all that servers need with `npm install --include=optional`.',
  HubError: 'Check the reference, HF_TOKEN and HF_ENDPOINT, or pass a folder: --model NAME=./folder.',
  HubUnreachableError: 'Check the connection and HF_ENDPOINT, or pass a folder: --model NAME=./folder.',
}

export function complaintOf(thrown: unknown): Complaint {
  const error = absentPackage(thrown) ?? thrown
  const { message, name, next, code } = (error instanceof Error ? error : new Error(String(error))) as Error & {
    next?: unknown
    code?: unknown
  }
  // Errors of the server's catalogue end their message with the next step already.
  if (typeof next === 'string') return { message: sentence(message.replace(next, '')), next }
  const known = NEXT[String(code)] ?? NEXT[name]
  return { message: sentence(message), next: known ?? 'Run it again with --debug to see where this happened.' }
}

/** `Error: sentence. Next: step`, on one line. */
export function printed(error: unknown, debug: boolean): string {
  const { message, next } = complaintOf(error)
  const line = `Error: ${message} Next: ${next}`.replaceAll(/\s*\n\s*/g, ' ')
  return debug && error instanceof Error ? `${line}\n${error.stack}` : line
}

function sentence(message: string): string {
  const text = message.trim()
  const capital = /^[a-z][a-z]* /.test(text) ? text[0]!.toUpperCase() + text.slice(1) : text
  return /[.!?]$/.test(capital) ? capital : `${capital}.`
}
