// A real server in a process of its own, as `twinkle serve` starts it, on a free port. Whoever starts it stops it; if this
// process ends first, it goes along.

import { type ChildProcess, spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const START_LIMIT_MS = 120_000
const STOP_LIMIT_MS = 20_000

export interface ServerProcess {
  readonly url: string
  readonly pid: number
  /** Milliseconds from the start of the process to the ready block. */
  readonly readyMs: number
  /** Ends it in order. Throws when it does not end with code 0. */
  stop(): Promise<void>
}

const FROM_SOURCE = ['--import', 'tsx', 'src/cli/main.ts']
/** What `npm run build` made: starts as fast as it does for users. */
export const BUILT = ['dist/cli/main.js']

/** `args` follow `twinkle serve`. Throws with the server's own words when it does not get ready. */
export async function startServerProcess(args: readonly string[], program = FROM_SOURCE): Promise<ServerProcess> {
  const start = performance.now()
  const words = [...program, 'serve', '--port', '0', '--log-level', 'warn', ...args]
  const child = spawn(process.execPath, words, { cwd: ROOT, stdio: ['ignore', 'pipe', 'pipe'] })
  const killChild = () => child.kill('SIGKILL')
  process.once('exit', killChild)
  const complaints: string[] = []
  child.stderr.on('data', (bytes: Buffer) => complaints.push(bytes.toString()))
  try {
    const url = await addressOf(child)
    const readyMs = performance.now() - start
    return { url, pid: child.pid!, readyMs, stop: () => stopped(child, killChild, complaints) }
  } catch (error) {
    child.kill('SIGKILL')
    const said = complaints
      .join('')
      .trim()
      .replace(/^Error: /, '')
    throw new Error(`The server did not start: ${said || (error as Error).message}`)
  }
}

async function addressOf(child: ChildProcess): Promise<string> {
  let timer: NodeJS.Timeout | undefined
  try {
    return await new Promise((resolve, reject) => {
      timer = setTimeout(() => reject(new Error('it was not ready in time')), START_LIMIT_MS)
      child.once('error', reject)
      child.once('exit', (code) => reject(new Error(`it ended with code ${code}`)))
      createInterface({ input: child.stdout! }).on('line', (line) => {
        const address = /ready at (http:\/\/\S+)/.exec(line)?.[1]
        if (address !== undefined) resolve(address)
      })
    })
  } finally {
    clearTimeout(timer)
  }
}

async function stopped(child: ChildProcess, onExit: () => void, complaints: readonly string[]): Promise<void> {
  const code = await new Promise<number | null>((resolve) => {
    if (child.exitCode !== null) return resolve(child.exitCode)
    const timer = setTimeout(() => child.kill('SIGKILL'), STOP_LIMIT_MS)
    child.once('exit', (exitCode) => {
      clearTimeout(timer)
      resolve(exitCode)
    })
    child.kill('SIGTERM')
  })
  process.removeListener('exit', onExit)
  if (code !== 0) throw new Error(`The server ended with code ${code}: ${complaints.join('').trim()}`)
}
