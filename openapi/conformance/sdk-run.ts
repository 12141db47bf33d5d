// One run of the Python cases with one version of the unmodified SDK: makes the environment, starts sdk/run.py once, and
// gives each case's result as soon as it is printed. What the cases do is not known here.

import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { EMBEDDED_MODEL } from '../../src/server/config-fields.ts'
import { isOlder, type SdkVersion } from './cases.ts'
import type { ServerProcess } from './server-process.ts'

const PYTHON_ENV = fileURLToPath(new URL('../../scripts/python-env.mjs', import.meta.url))
const RUNNER = fileURLToPath(new URL('sdk/run.py', import.meta.url))
/** The first SDKs import PyTorch as they load; this is enough for them when no case computes with it. */
const WITHOUT_TORCH = fileURLToPath(new URL('sdk/without-torch', import.meta.url))
const NO_PYTHON = 3

export const KEY = 'tml-conformance'
export const OTHER_KEY = 'tml-neighbour'

export interface CaseResult {
  readonly id: string
  readonly ok: boolean
  readonly seconds: number
  readonly error?: string
  /** What it called of the SDK, as `TrainingClient.optim_step`; empty unless they were asked for. */
  readonly methods: readonly string[]
}

export interface RunOptions {
  /** Notes which methods of the SDK a case calls. */
  readonly methods?: boolean
  /** A folder of packages that this SDK's environment has not: PyTorch. */
  readonly packages?: string
}

/** The interpreter of a requirement set, made if need be; null when this machine has no Python that can. */
export function pythonEnv(set: string): Promise<string | null> {
  return new Promise((resolve, reject) => {
    execFile(process.execPath, [PYTHON_ENV, set], (error, stdout, stderr) => {
      if (!error) resolve(stdout.trim())
      else if (error.code === NO_PYTHON) resolve(null)
      else reject(new Error(`the Python environment ${set} could not be made:\n${stderr}`))
    })
  })
}

export class SdkRun {
  readonly #process: ChildProcess
  readonly #home: string
  readonly #results = new Map<string, Promise<CaseResult>>()
  readonly #said: string[] = []
  /** All public methods of this SDK. */
  readonly methods: Promise<readonly string[]>

  static async start(
    sdk: { readonly version: SdkVersion; readonly python: string },
    server: Pick<ServerProcess, 'url' | 'stateDir'>,
    ids: readonly string[],
    options: RunOptions = {},
  ): Promise<SdkRun> {
    const home = await mkdtemp(join(tmpdir(), 'twinkle-home-'))
    const packages = options.packages ?? (isOlder(sdk.version, '0.8') ? WITHOUT_TORCH : '')
    const env = { ...environment(server, home), CONFORMANCE_PACKAGES: packages }
    const args = ['-W', 'ignore', RUNNER, ...(options.methods ? ['--methods'] : []), ...ids]
    return new SdkRun(spawn(sdk.python, args, { env, stdio: 'pipe' }), ids, home)
  }

  private constructor(process: ChildProcess, ids: readonly string[], home: string) {
    this.#home = home
    this.#process = process
    const settle = new Map<string, (result: CaseResult) => void>()
    for (const id of ids) this.#results.set(id, new Promise((resolve) => settle.set(id, resolve)))
    const lines = createInterface({ input: this.#process.stdout! })
    this.methods = new Promise((resolve) => {
      lines.on('line', (line) => {
        const said = JSON.parse(line) as CaseResult | Pick<CaseResult, 'methods'>
        if ('id' in said) settle.get(said.id)?.(said)
        else resolve(said.methods)
      })
      lines.once('close', () => resolve([]))
    })
    this.#process.stderr!.setEncoding('utf8').on('data', (text: string) => this.#said.push(text))
    this.#process.once('close', (code) => {
      const error = `the runner ended (exit code ${code}) before this case; it said:\n${this.log()}`
      for (const [id, resolve] of settle) resolve({ id, ok: false, seconds: 0, error, methods: [] })
    })
  }

  result(id: string): Promise<CaseResult> {
    return this.#results.get(id) ?? Promise.reject(new Error(`case ${id} is not part of this run`))
  }

  /** The end of what the SDK logged. */
  log(): string {
    return this.#said.join('').slice(-4000)
  }

  async stop(): Promise<void> {
    const ended =
      this.#process.exitCode === null ? new Promise((resolve) => this.#process.once('close', resolve)) : undefined
    this.#process.kill('SIGKILL')
    await ended
    await rm(this.#home, { recursive: true, force: true })
  }
}

/** An empty home: no stored credentials, no cached tokenizers; all the SDK learns comes from the server. */
function environment({ url, stateDir }: Pick<ServerProcess, 'url' | 'stateDir'>, home: string): NodeJS.ProcessEnv {
  const { PATH, SystemRoot, LANG } = process.env
  return {
    ...(PATH && { PATH }),
    ...(SystemRoot && { SystemRoot }),
    LANG: LANG ?? 'C.UTF-8',
    HOME: home,
    TINKER_BASE_URL: url,
    TINKER_API_KEY: KEY,
    HF_ENDPOINT: url,
    CONFORMANCE_OTHER_KEY: OTHER_KEY,
    CONFORMANCE_STATE_DIR: stateDir,
    CONFORMANCE_MODEL: EMBEDDED_MODEL.name,
    PYTHONDONTWRITEBYTECODE: '1',
  }
}
