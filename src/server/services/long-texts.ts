// Tokens of long texts, away from the process that serves requests: a megabyte of spaces takes seconds. One process of low
// priority for all models, started when it is first wanted; one text of a tenant at a time, so that nobody's texts hold up
// everybody's.

import { type ChildProcess, spawn } from 'node:child_process'
import { workerArguments } from '../../backends/child-process.ts'
import { serviceError } from '../errors.ts'
import { lower } from './adapter-tasks.ts'
import type { TextAnswer, TextJob } from './long-text-worker.ts'

const WORKER = new URL(
  import.meta.url.endsWith('.ts') ? './long-text-worker.ts' : './long-text-worker.js',
  import.meta.url,
)

type Settle = { readonly resolve: (tokens: Int32Array) => void; readonly reject: (cause: Error) => void }
export type LongText = Pick<TextJob, 'model' | 'text' | 'addSpecialTokens'>

interface Reader {
  readonly child: ChildProcess
  /** Models whose files it has. */
  readonly known: Set<string>
  /** What it was sent and has not answered. */
  readonly waiting: Map<number, Settle>
}

export class LongTexts {
  readonly #files: (model: string) => Record<string, Uint8Array> | null
  /** The last text of each tenant that has one. */
  readonly #last = new Map<string, Promise<unknown>>()
  #reader: Reader | null = null
  #nextId = 0
  #isClosed = false
  constructor(files: (model: string) => Record<string, Uint8Array> | null) {
    this.#files = files
  }

  async encode(tenant: string, text: LongText): Promise<Int32Array> {
    const turn = (this.#last.get(tenant) ?? Promise.resolve()).then(() => this.#send(text))
    const settled = turn.then(
      () => {},
      () => {},
    )
    this.#last.set(tenant, settled)
    void settled.then(() => {
      if (this.#last.get(tenant) === settled) this.#last.delete(tenant)
    })
    return turn
  }

  /** Of the process, while there is one. */
  get pid(): number | undefined {
    return this.#reader?.child.pid
  }

  /** What is being read, and what comes later, fails with SHUTTING_DOWN. */
  async close(): Promise<void> {
    this.#isClosed = true
    this.#reader?.child.kill('SIGKILL')
  }

  #send(text: LongText): Promise<Int32Array> {
    if (this.#isClosed) return Promise.reject(serviceError('SHUTTING_DOWN'))
    this.#reader ??= this.#start()
    const { child, known, waiting } = this.#reader
    const files = known.has(text.model) ? null : this.#files(text.model)
    known.add(text.model)
    const id = this.#nextId++
    const job: TextJob = { id, ...text, ...(files && { files }) }
    return new Promise((resolve, reject) => {
      waiting.set(id, { resolve, reject })
      // What cannot be sent is answered by the end of the process.
      child.send(job, () => {})
    })
  }

  #start(): Reader {
    const child = spawn(process.execPath, workerArguments(WORKER), {
      env: { PATH: process.env.PATH },
      stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
      serialization: 'advanced',
      windowsHide: true,
    })
    if (child.pid !== undefined) lower(child.pid)
    // Nobody waits for it at the end.
    child.unref()
    child.channel?.unref()
    const reader: Reader = { child, known: new Set(), waiting: new Map() }
    child.on('message', (answer: TextAnswer) => {
      const settle = reader.waiting.get(answer.id)
      reader.waiting.delete(answer.id)
      if ('tokens' in answer) settle?.resolve(answer.tokens)
      else settle?.reject(new Error(`a text could not be read: ${answer.problem}`))
    })
    // The next text starts another one.
    const over = (how: string) => {
      if (this.#reader === reader) this.#reader = null
      const cause = this.#isClosed ? serviceError('SHUTTING_DOWN') : new Error(`the process for long texts ${how}`)
      for (const { reject } of reader.waiting.values()) reject(cause)
      reader.waiting.clear()
    }
    child.once('error', (cause) => over(`could not be started: ${cause.message}`))
    child.once('exit', (code, signal) => over(`ended with ${signal ?? code}`))
    return reader
  }
}
