// Two terminals, as a reader of the cookbook has them: a server that one of its scripts starts, on a free port with a state
// directory of its own, and the scripts that are run against it, with an empty home. What scripts do is not known here.

import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

export const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const READY_MS = 60_000

export interface Program {
  readonly command: string
  readonly args: readonly string[]
  readonly env?: Readonly<Record<string, string>>
  /** Default: the root of the checkout. */
  readonly cwd?: string
}

/** `file` is a path from the root of the checkout. */
export const tsx = (file: string, ...args: string[]): Program => ({
  command: process.execPath,
  args: ['--import', 'tsx', file, ...args],
})

/** As `twinkle serve` with these arguments. */
export const serve = (...args: string[]): Program => tsx('src/cli/main.ts', 'serve', ...args)

export class Terminal {
  readonly #folder = mkdtempSync(join(tmpdir(), 'twinkle-cookbook-'))
  #server: ChildProcess | undefined
  #url = ''

  get url(): string {
    return this.#url
  }

  /** Resolves when the server is ready. Throws with its own words when it ends before. */
  async start(program: Program): Promise<void> {
    const env = { TWINKLE_PORT: '0', TWINKLE_STATE_DIR: join(this.#folder, 'state'), TWINKLE_LOG_LEVEL: 'warn' }
    const child = this.#spawn({ ...program, env: { ...env, ...program.env } })
    this.#server = child
    let said = ''
    this.#url = await new Promise((resolve, reject) => {
      const fail = (why: string) => reject(new Error(`${why}; it said:\n${said}`))
      const timer = setTimeout(() => fail('no ready block'), READY_MS)
      const hear = (text: string) => {
        said += text
        const url = /ready at (http:\/\/\S+)/.exec(said)?.[1]
        if (url === undefined) return
        clearTimeout(timer)
        resolve(url)
      }
      for (const stream of [child.stdout, child.stderr]) stream?.setEncoding('utf8').on('data', hear)
      child.once('close', (code) => fail(`the server ended with code ${code}`))
    })
  }

  /** What the script printed. Throws with all that it said when it fails. */
  async run(program: Program): Promise<string> {
    const { command, args, env, cwd = ROOT } = program
    const { stdout } = await promisify(execFile)(command, args, { cwd, env: this.#environment(env) })
    return stdout
  }

  /** Asks the server to end as Ctrl-C and `kill` do; its exit code. */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<number | null> {
    const server = this.#server
    this.#server = undefined
    if (server === undefined || server.exitCode !== null) return server?.exitCode ?? null
    const ended = new Promise<number | null>((resolve) => server.once('close', resolve))
    server.kill(signal)
    return ended
  }

  async close(): Promise<void> {
    await this.stop()
    rmSync(this.#folder, { recursive: true, force: true })
  }

  #spawn({ command, args, env, cwd = ROOT }: Program): ChildProcess {
    return spawn(command, args, { cwd, env: this.#environment(env), stdio: ['ignore', 'pipe', 'pipe'] })
  }

  #environment(more: Readonly<Record<string, string>> = {}): NodeJS.ProcessEnv {
    const { PATH = '', LANG = 'C.UTF-8' } = process.env
    const server = this.#url === '' ? {} : { TWINKLE_SERVER_URL: this.#url, TINKER_BASE_URL: this.#url }
    return { PATH, LANG, HOME: this.#folder, PYTHONDONTWRITEBYTECODE: '1', ...server, ...more }
  }
}
