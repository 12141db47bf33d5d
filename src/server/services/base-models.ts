// The base models that this server serves, each with its engine. An engine that dies is opened again; whoever had work in
// it is told through `onLost`. Knows names and engines, not adapters.

import { setTimeout } from 'node:timers/promises'
import type { Backend, BackendOptions, Engine, EngineError, ModelSource } from '../../backends/backend.ts'
import { EngineError as Failure } from '../../backends/backend.ts'
import { openModelSource } from '../../formats/model-folder.ts'
import { serviceError } from '../errors.ts'

const FIRST_PAUSE_MS = 250
const LONGEST_PAUSE_MS = 30_000

export interface ServedModel {
  readonly name: string
  readonly engine: Engine
}

export class BaseModels {
  readonly #backend: Backend
  readonly #options: BackendOptions
  readonly #served = new Map<string, { engine: Engine; files: Record<string, Uint8Array> }>()
  readonly #listeners: ((name: string, cause: EngineError) => void)[] = []
  #closing = false

  constructor(backend: Backend, options: BackendOptions) {
    this.#backend = backend
    this.#options = options
  }

  /** Opens all of them, or none: what was opened beside one that cannot be is closed again. */
  async open(sources: readonly ModelSource[]): Promise<void> {
    const opened = await Promise.allSettled(sources.map((source) => this.#open(source)))
    const failed = opened.find((result) => result.status === 'rejected')
    if (!failed) return
    await this.close()
    throw failed.reason
  }

  async #open(source: ModelSource): Promise<void> {
    const files = openModelSource(source.path).tokenizerFiles()
    const engine = await this.#backend.open(source, this.#options)
    this.#served.set(source.name, { engine, files })
    this.#watch(source, files, engine)
  }

  #watch(source: ModelSource, files: Record<string, Uint8Array>, engine: Engine): void {
    void engine.closed.then(async (cause) => {
      if (this.#closing) return
      for (const listener of this.#listeners) listener(source.name, cause ?? engineLost(source.name))
      this.#options.log(`engine of ${source.name} is gone (${cause?.message ?? 'closed'}), opening it again`)
      await this.#reopen(source, files)
    })
  }

  /** Tries until it works: the other models go on, and requests for this one are refused meanwhile. */
  async #reopen(source: ModelSource, files: Record<string, Uint8Array>): Promise<void> {
    for (let pauseMs = FIRST_PAUSE_MS; !this.#closing; pauseMs = Math.min(LONGEST_PAUSE_MS, 2 * pauseMs)) {
      try {
        const engine = await this.#backend.open(source, this.#options)
        if (this.#closing) return await engine.close()
        this.#served.set(source.name, { engine, files })
        this.#watch(source, files, engine)
        return
      } catch (error) {
        const reason = error instanceof Error ? error.message : String(error)
        this.#options.log(`engine of ${source.name} cannot be opened (${reason}); trying again in ${pauseMs} ms`)
        await setTimeout(pauseMs, undefined, { ref: false })
      }
    }
  }

  onLost(listener: (name: string, cause: EngineError) => void): void {
    this.#listeners.push(listener)
  }

  names(): string[] {
    return [...this.#served.keys()]
  }

  has(name: string): boolean {
    return this.#served.has(name)
  }

  get(name: string): ServedModel {
    const served = this.#served.get(name)
    if (!served) throw serviceError('UNKNOWN_BASE_MODEL', { name, models: this.names() })
    return { name, engine: served.engine }
  }

  /** What a hub would hold of this model besides weights: tokenizer, configuration, chat template. */
  files(name: string): Record<string, Uint8Array> | null {
    return this.#served.get(name)?.files ?? null
  }

  async close(): Promise<void> {
    this.#closing = true
    await Promise.all([...this.#served.values()].map(({ engine }) => engine.close()))
  }
}

function engineLost(name: string): EngineError {
  return new Failure({ category: 'server', code: 'ENGINE_LOST', message: `The engine of ${name} has stopped.` })
}
