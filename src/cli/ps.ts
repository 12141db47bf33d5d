// `twinkle ps`: what a server is doing. On a terminal it is drawn anew every second until q or Ctrl-C; elsewhere, and with
// --json, it is printed once.

import { once } from 'node:events'
import { setTimeout } from 'node:timers/promises'
import type { Schemas } from '../generated/operations.ts'
import { psView } from './ps-view.ts'
import { callJson, type ServerOptions, serverAddress } from './server-call.ts'

interface PsOptions extends ServerOptions {
  readonly json?: boolean
  readonly once?: boolean
}

const REDRAW_MS = 1000
const ALTERNATE_SCREEN = '\u001b[?1049h\u001b[?25l'
const NORMAL_SCREEN = '\u001b[?25h\u001b[?1049l'
/** q, Ctrl-C, Ctrl-D: a terminal in raw mode sends no signals. */
const ENDING = ['q', '\u0003', '\u0004']
const HOME = '\u001b[H\u001b[2J'

export async function ps(options: PsOptions): Promise<void> {
  const address = serverAddress(options)
  const status = await statusOf(address)
  if (options.json) return print(JSON.stringify(status))
  if (options.once || !process.stdout.isTTY) return print(psView(status, address))
  await live(address)
}

const statusOf = (address: string) => callJson<Schemas['ServerStatus']>(address, '/status')

async function live(address: string): Promise<void> {
  const end = new AbortController()
  const { stdin, stdout } = process
  stdin.setRawMode?.(true)
  stdin.on('data', (keys) => {
    if (ENDING.some((key) => String(keys).includes(key))) end.abort()
  })
  process.once('SIGTERM', () => end.abort())
  stdout.write(ALTERNATE_SCREEN)
  try {
    while (!end.signal.aborted) {
      const text = await statusOf(address).then(
        (status) => psView(status, address),
        (error: Error) => `${error.message}\nTrying again.`,
      )
      stdout.write(`${HOME}${cut(text, stdout.columns, stdout.rows)}`)
      await setTimeout(REDRAW_MS, undefined, { signal: end.signal }).catch(() => {})
    }
  } finally {
    stdin.setRawMode?.(false)
    stdin.pause()
    if (!stdout.write(NORMAL_SCREEN)) await once(stdout, 'drain')
  }
}

/** A line that wraps would push the others off the screen. */
function cut(text: string, columns: number, rows: number): string {
  const lines = text.split('\n').slice(0, rows - 2)
  return [...lines.map((line) => line.slice(0, columns)), '', 'q ends'].join('\r\n')
}

function print(text: string): void {
  process.stdout.write(`${text}\n`)
}
