// A real server that is there to be killed: `twinkle serve` on one port and one state directory, started again after each
// death. Knows processes; knows nothing of what is asked of the server. Linux: it finds the engines in /proc.

import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const PROGRAM = ['--import', 'tsx', 'src/cli/main.ts']
const START_LIMIT_MS = 120_000
/** How the command line of an engine's process is told from others. */
const ENGINE = /worker\.[jt]s/

const INFO = /"level":30,/
const MOVES = /sent \S+ to disk|brought \S+ back|not bit for bit|no restart point/

export const TARGETS = ['api', 'engine', 'both'] as const
export type Target = (typeof TARGETS)[number]

export class MortalServer {
  readonly #args: readonly string[]
  #child: ChildProcess | null = null
  #words: string[] = []
  /** What all its processes said of adapters that came and went. */
  readonly #moves: string[] = []
  #port = 0
  /** Settles when it answers; a new one after each death of the API process. */
  #ready: Promise<string> = Promise.reject(new Error('it was not started'))

  readonly #last = () => void this.#child?.kill('SIGKILL')

  /** `args` follow `twinkle serve`. */
  constructor(args: readonly string[]) {
    this.#args = args
    this.#ready.catch(() => {})
    process.once('exit', this.#last)
  }

  /** Where it answers, once it does. Rejects with the server's words when it does not start. */
  get ready(): Promise<string> {
    return this.#ready
  }

  start(): Promise<string> {
    this.#ready = this.#started()
    return this.#ready
  }

  async #started(): Promise<string> {
    const words = [...PROGRAM, 'serve', '--port', String(this.#port), '--log-level', 'info', ...this.#args]
    const child = spawn(process.execPath, words, { cwd: ROOT, stdio: ['ignore', 'pipe', 'pipe'] })
    this.#child = child
    this.#words = []
    createInterface({ input: child.stderr }).on('line', (line) => this.#hear(line))
    const limit = setTimeout(() => child.kill('SIGKILL'), START_LIMIT_MS)
    for await (const line of createInterface({ input: child.stdout })) {
      const address = /is ready at (http:\/\/\S+:(\d+))/.exec(line)
      if (!address) continue
      clearTimeout(limit)
      this.#port = Number(address[2])
      child.stdout.resume()
      return address[1] as string
    }
    throw new Error(`the server did not start; it said: ${this.words}`)
  }

  #hear(line: string): void {
    if (!INFO.test(line)) this.#words.push(`${line}\n`)
    else if (MOVES.test(line)) this.#moves.push(line)
  }

  /** Warnings and errors of the process that is there now, or was last. */
  get words(): string {
    return this.#words.join('').trim() || 'nothing'
  }

  /** What was said, and when, over all its lives, of how the adapter of a run came and went. */
  said(run: string): string[] {
    const lines = this.#moves.filter((line) => line.includes(run))
    return lines
      .map((line) => JSON.parse(line) as { time: string; msg: string })
      .map(({ time, msg }) => `${time} ${msg}`)
  }

  /** Kills without warning. The API process is started again; an engine is the server's own affair. */
  async kill(target: Target): Promise<void> {
    const { pid } = this.#child as { pid: number }
    const victims = target === 'api' ? [] : enginesOf(pid)
    if (target !== 'engine') victims.push(pid)
    const gone = target === 'engine' ? null : once(this.#child as ChildProcess, 'exit')
    if (gone) this.#ready = gone.then(() => this.#started())
    for (const victim of victims) killed(victim)
    await this.#ready
  }

  /** Of the API process. */
  get pid(): number {
    return this.#child?.pid ?? 0
  }

  /** Kills the API process and leaves it at that; its engines end with it. */
  async fall(): Promise<void> {
    const child = this.#child as ChildProcess
    const gone = once(child, 'exit')
    child.kill('SIGKILL')
    await gone
  }

  /** The API process stands still until it is resumed; its engines go on. */
  pause(): void {
    this.#child?.kill('SIGSTOP')
  }
  resume(): void {
    this.#child?.kill('SIGCONT')
  }

  /** For good, if it is still there. */
  async destroy(): Promise<void> {
    process.off('exit', this.#last)
    const child = this.#child
    if (!child || child.exitCode !== null || child.signalCode !== null) return
    const gone = once(child, 'exit')
    child.kill('SIGKILL')
    await gone
  }

  /** Ends it in order. Throws when it does not end with code 0. */
  async stop(): Promise<void> {
    await this.#ready
    const child = this.#child as ChildProcess
    const gone = once(child, 'exit')
    child.kill('SIGTERM')
    const [code] = await gone
    if (code !== 0) throw new Error(`the server ended with code ${code}: ${this.words}`)
  }
}

function enginesOf(pid: number): number[] {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ').filter(Boolean)
  return children.map(Number).filter((child) => ENGINE.test(commandOf(child)))
}

function commandOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8')
  } catch {
    return ''
  }
}

/** One that is gone already needs no killing. */
function killed(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}
