// The real server as a process of its own, as a user starts it: `twinkle serve` on a free port with a state directory that
// is thrown away. It knows the command line and the ready block; what is asked of the server is not known here.

import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const READY_MS = 60_000

export interface ServerProcess {
  readonly url: string
  readonly pid: number
  readonly stateDir: string
  /** Everything it has printed so far, both streams. */
  output(): string
  /** Asks it to end, waits until it has, and removes its state. Its exit code. */
  stop(): Promise<number | null>
  /** `kill -9`; the state stays, for a server that is started on it. */
  kill(): Promise<void>
}

export interface ServeOptions {
  readonly keys?: readonly string[]
  readonly flags?: readonly string[]
  /** That of a server which was killed. */
  readonly stateDir?: string
}

/** Resolves when the ready block is there; rejects with what was printed when the process ends or stays silent. */
export async function startServerProcess(options: ServeOptions = {}): Promise<ServerProcess> {
  const { keys = [], flags = [] } = options
  const stateDir = options.stateDir ?? (await mkdtemp(join(tmpdir(), 'twinkle-conformance-')))
  const main = join(ROOT, 'src', 'cli', 'main.ts')
  const args = ['--import', 'tsx', main, 'serve', '--port', '0', '--state-dir', stateDir, ...flags]
  const env = { ...cleanEnvironment(), ...(keys.length && { TWINKLE_KEYS: keys.join(',') }) }
  const child = spawn(process.execPath, args, { cwd: ROOT, env, stdio: ['ignore', 'pipe', 'pipe'] })
  const printed: string[] = []
  const exit = exitOf(child)
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8')
    stream.on('data', (text: string) => printed.push(text))
  }
  const output = () => printed.join('')
  const stop = async () => {
    child.kill('SIGTERM')
    const code = await exit
    await rm(stateDir, { recursive: true, force: true })
    return code
  }
  const kill = async () => {
    child.kill('SIGKILL')
    await exit
  }
  try {
    return { url: await readyUrl(child, exit), pid: child.pid as number, stateDir, output, stop, kill }
  } catch (error) {
    await stop()
    throw new Error(`${(error as Error).message}; it printed:\n${output()}`)
  }
}

function readyUrl(child: ChildProcess, exit: Promise<number | null>): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = ''
    const timer = setTimeout(() => reject(new Error(`no ready block after ${READY_MS / 1000} s`)), READY_MS)
    child.stdout?.on('data', (more: string) => {
      text += more
      const url = /ready at (http:\/\/\S+)/.exec(text)?.[1]
      if (url === undefined) return
      clearTimeout(timer)
      resolve(url)
    })
    void exit.then((code) => {
      clearTimeout(timer)
      reject(new Error(`the server ended with exit code ${code}`))
    })
  })
}

function exitOf(child: ChildProcess): Promise<number | null> {
  return new Promise((resolve) => child.once('close', (code) => resolve(code)))
}

/** Ours, without settings that would make the server another one than the test means. */
function cleanEnvironment(): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^(TWINKLE|TINKER|HF)_/.test(name)))
}
