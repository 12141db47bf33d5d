// Where a recipe is run: a real server, the cookbook's environment, an empty home, the stand-in data, and no network but the
// server. It runs the commands that the guide shows, as the guide shows them, and reads what the cookbook logged.
// What a recipe is about is not known here.

import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { delimiter, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { KEY, pythonEnv } from '../../openapi/conformance/sdk-run.ts'
import { type ServerProcess, startServerProcess } from '../../openapi/conformance/server-process.ts'

const GUIDE = fileURLToPath(new URL('../../docs/guides/cookbook.md', import.meta.url))
const RECIPES = fileURLToPath(new URL('.', import.meta.url))
/** The cookbook's settings and its chat format for this name suit twinkle/tiny. */
const ALIAS = 'Qwen/Qwen3-4B-Instruct-2507=models/tiny'
/** Nothing listens there: whatever asks for the world outside is refused at once. */
const NOWHERE = 'http://127.0.0.1:9'

export type Metrics = Readonly<Record<string, number>>

export interface Checkpoint {
  readonly name: string
  readonly batch: number
  readonly state_path: string
}

export class Kitchen {
  readonly #python: string
  readonly #server: ServerProcess
  readonly #folder: string

  static async open(): Promise<Kitchen> {
    const python = await pythonEnv('sdk-0.38.0-torch')
    if (python === null) throw new Error('no Python >= 3.11 here that could run the cookbook; see CONTRIBUTING.md')
    const folder = await mkdtemp(join(tmpdir(), 'twinkle-recipe-'))
    const kitchen = new Kitchen(python, await startServerProcess({ flags: ['--model', ALIAS] }), folder)
    try {
      await kitchen.run('python ../cookbook/recipes/data.py .')
      return kitchen
    } catch (error) {
      await kitchen.close()
      throw error
    }
  }

  private constructor(python: string, server: ServerProcess, folder: string) {
    this.#python = python
    this.#server = server
    this.#folder = folder
  }

  /** Ends when the commands have; what they said, which is also in the error when they fail. */
  async run(commands: string): Promise<string> {
    const said: string[] = []
    const code = await ended(this.start(commands, (text) => said.push(text)))
    if (code !== 0) throw new Error(`exit code ${code} of\n${commands}\nwhich said\n${said.join('').slice(-4000)}`)
    return said.join('')
  }

  /** A process group of its own, so that `kill` gets all of it. */
  start(commands: string, hear: (text: string) => unknown): ChildProcess {
    const child = spawn('bash', ['-euc', commands.replaceAll('../cookbook/recipes/', RECIPES)], {
      cwd: this.#folder,
      env: this.#environment(),
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
    })
    for (const stream of [child.stdout, child.stderr]) stream?.setEncoding('utf8').on('data', hear)
    return child
  }

  /** Rows of metrics.jsonl, first to last. Keys that stand for no number are left out by the cookbook. */
  metrics(run: string): Metrics[] {
    return jsonLines(this.path(run, 'metrics.jsonl'))
  }

  checkpoints(run: string): Checkpoint[] {
    return jsonLines(this.path(run, 'checkpoints.jsonl'))
  }

  path(...parts: string[]): string {
    return join(this.#folder, ...parts)
  }

  async close(): Promise<void> {
    await this.#server.stop()
    await rm(this.#folder, { recursive: true, force: true })
  }

  #environment(): NodeJS.ProcessEnv {
    const { PATH = '', LANG = 'C.UTF-8' } = process.env
    const { url } = this.#server
    return {
      PATH: `${dirname(this.#python)}${delimiter}${PATH}`,
      LANG,
      HOME: join(this.#folder, 'home'),
      TINKER_BASE_URL: url,
      TINKER_API_KEY: KEY,
      HF_ENDPOINT: url,
      HTTP_PROXY: NOWHERE,
      HTTPS_PROXY: NOWHERE,
      NO_PROXY: '127.0.0.1',
    }
  }
}

/** The shell commands below a heading of the guide, one string for each block. */
export function commandsOf(heading: string): string[] {
  const section = readFileSync(GUIDE, 'utf8')
    .split(/^## /m)
    .find((text) => text.startsWith(`${heading}\n`))
  if (section === undefined) throw new Error(`the guide has no section "${heading}"`)
  return [...section.matchAll(/^```sh\n([\s\S]*?)^```/gm)].map(([, code]) => code as string)
}

/** `kill -9` of a process and its children; resolves when it is gone. */
export async function kill(child: ChildProcess): Promise<void> {
  const gone = ended(child)
  process.kill(-(child.pid as number), 'SIGKILL')
  await gone
}

export function mean(values: readonly number[]): number {
  return values.reduce((a, b) => a + b, 0) / values.length
}

export function column(rows: readonly Metrics[], key: string): number[] {
  return rows.flatMap((row) => (row[key] === undefined ? [] : [row[key]]))
}

function ended(child: ChildProcess): Promise<number | null> {
  return new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (code) => resolve(code))
  })
}

function jsonLines<T>(file: string): T[] {
  if (!existsSync(file)) throw new Error(`the recipe left no ${file}`)
  const lines = readFileSync(file, 'utf8').split('\n').filter(Boolean)
  return lines.map((line) => JSON.parse(line.replaceAll(/\bNaN\b/g, 'null')) as T)
}
