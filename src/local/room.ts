// A server of this program's own, in a thread of it: started by the first request, reachable by this program alone, gone with
// it. It holds the event loop only while it starts or ends; requests that are under way hold it as any request does.

import { randomBytes } from 'node:crypto'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import { LocalError } from './errors.ts'
import type { LocalModels } from './models.ts'
import type { ThreadMessage, ThreadSettings } from './thread.ts'

export interface LocalOptions {
  /** Where runs and checkpoints are kept for the next program; default: a temporary folder that goes with this one. */
  readonly stateDir?: string
  /** Base models by name: a Hugging Face folder, a `.gguf` file or `hf:org/name`. The embedded twinkle/tiny is always there. */
  readonly models?: Readonly<Record<string, string>>
  /** A folder whose files (JSON lines, JSON, CSV) are data sets by their names. */
  readonly dataDir?: string
  /** Compute threads; 0 lets the engine decide. */
  readonly threads?: number
  /** What is written to stderr: `trace` to `error`, or `silent`. */
  readonly logLevel?: string
}

/** In a state folder: which tenant of it this program is. */
const KEY_FILE = 'local.key'

export class LocalRoom {
  readonly models: LocalModels
  readonly #options: LocalOptions
  readonly #stateDir: string
  readonly #isTemporary: boolean
  readonly #key: string
  #thread: Worker | undefined
  #url: Promise<string> | undefined
  /** Why the thread ended by itself. */
  #death: LocalError | undefined
  readonly #remove = () => rmSync(this.#stateDir, { recursive: true, force: true })

  constructor(options: LocalOptions, models: LocalModels) {
    this.#options = options
    this.models = models
    this.#isTemporary = options.stateDir === undefined
    this.#stateDir = options.stateDir ?? mkdtempSync(join(tmpdir(), 'twinkle-local-'))
    this.#key = this.#isTemporary ? newKey() : keyOf(this.#stateDir)
    // Also where a program ends by process.exit or by an error, which leave no time for more.
    if (this.#isTemporary) process.on('exit', this.#remove)
  }

  get hasStarted(): boolean {
    return this.#url !== undefined
  }

  /** Any address will do: only path and query count. Throws LocalError when the server does not start, or has died. */
  async fetch(request: Request): Promise<Response> {
    this.#url ??= this.#start()
    const { pathname, search } = new URL(request.url)
    const { method, signal } = request
    const headers = new Headers(request.headers)
    headers.set('authorization', `Bearer ${this.#key}`)
    headers.set('twinkle-authorization', `Bearer ${this.#key}`)
    const body = request.body ? await request.arrayBuffer() : null
    const url = await this.#url
    if (this.#death) throw this.#death
    return fetch(`${url}${pathname}${search}`, { method, headers, body, signal }).catch(async (error: unknown) => {
      // A thread that dies takes its sockets along before anybody is told.
      await new Promise(setImmediate)
      throw this.#death ?? error
    })
  }

  /** Finishes what was acknowledged, and removes what is temporary. */
  async close(): Promise<void> {
    const url = this.#url
    this.#url = Promise.reject(new LocalError('What this belonged to was closed by closeLocal. Next: make it anew.'))
    this.#url.catch(() => {})
    if (!this.#death && (await url?.catch(() => undefined))) await this.#closeThread()
    await this.#thread?.terminate()
    process.off('exit', this.#remove)
    if (this.#isTemporary) this.#remove()
  }

  async #start(): Promise<string> {
    const { dataDir, threads = 0, logLevel = 'warn' } = this.#options
    const settings = { stateDir: this.#stateDir, key: this.#key, models: this.models.entries() }
    const workerData: ThreadSettings = { ...settings, dataDir, threads, logLevel }
    const thread = new Worker(threadModule(), { workerData, execArgv: [] })
    this.#thread = thread
    const ended = endOf(thread).then((error) => {
      this.#death = error
      throw error
    })
    ended.catch(() => {})
    const message = await Promise.race([nextMessage(thread), ended])
    if (!('url' in message)) {
      await thread.terminate()
      throw new LocalError('problem' in message ? message.problem : 'The thread that computes here closed at once.')
    }
    thread.unref()
    return message.url
  }

  async #closeThread(): Promise<void> {
    const thread = this.#thread as Worker
    thread.ref()
    thread.postMessage('close')
    await Promise.race([nextMessage(thread), endOf(thread)])
  }
}

/** What was built needs nothing. Sources go through tsx, which is there in a checkout and is to be asked in every thread. */
function threadModule(): URL {
  if (!import.meta.url.endsWith('.ts')) return new URL('./thread.js', import.meta.url)
  const tsx = import.meta.resolve('tsx/esm/api')
  const source = new URL('./thread.ts', import.meta.url)
  const code = `import { register } from '${tsx}'\nregister()\nawait import('${source}')`
  return new URL(`data:text/javascript,${encodeURIComponent(code)}`)
}

function nextMessage(thread: Worker): Promise<ThreadMessage> {
  return new Promise((resolve) => thread.once('message', resolve))
}

function endOf(thread: Worker): Promise<LocalError> {
  return new Promise((resolve) => {
    const end = (reason: string) =>
      resolve(new LocalError(`The thread that computes in this process ended: ${reason}. Next: closeLocal, then anew.`))
    thread.once('error', (error) => end(error.message))
    thread.once('exit', (code) => end(`exit code ${code}`))
  })
}

/** A state folder is used by one program after another: the same tenant each time. */
function keyOf(stateDir: string): string {
  mkdirSync(stateDir, { recursive: true })
  const file = join(stateDir, KEY_FILE)
  try {
    writeFileSync(file, newKey(), { flag: 'wx', mode: 0o600 })
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
  }
  return readFileSync(file, 'utf8').trim()
}

const newKey = () => `tml-${randomBytes(24).toString('hex')}`
