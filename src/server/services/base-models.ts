// The base models that this server serves, each with its engine. An engine that dies is opened again, until that works or
// the server closes; whoever had work in it asks for its successor. Knows names and engines, not adapters.

import type { Backend, BackendOptions, Engine, ModelSource } from '../../backends/backend.ts'
import { engineError } from '../../backends/engine-errors.ts'
import { openModelSource } from '../../formats/model-folder.ts'
import { serviceError } from '../errors.ts'
import { isEngineLoss } from './engine-loss.ts'

export interface ServedModel {
  readonly name: string
  readonly engine: Engine
}

interface Entry {
  readonly source: ModelSource
  readonly files: Record<string, Uint8Array>
  readonly engine: Engine
  /** Set when the engine is known to be gone. */
  successor: Promise<Engine> | null
  /** Tells the successor to whoever asks before anybody knows that there must be one. */
  readonly next: Deferred<Engine>
}

/** Between two attempts at opening an engine again. */
const REOPEN_MS = { first: 100, most: 10_000 }
/** At the start of the server; afterwards there is no limit. */
const OPEN_ATTEMPTS = 3

export class BaseModels {
  readonly #backend: Backend
  readonly #options: BackendOptions
  readonly #served = new Map<string, Entry>()
  readonly #listeners: ((name: string) => void)[] = []
  readonly #closing = new AbortController()

  constructor(backend: Backend, options: BackendOptions) {
    this.#backend = backend
    this.#options = options
  }

  /** Opens all of them, or none: what was opened beside one that cannot be is closed again. */
  async open(sources: readonly ModelSource[]): Promise<void> {
    const opened = await Promise.allSettled(
      sources.map(async (source) => {
        const files = openModelSource(source.path).tokenizerFiles()
        this.#serve(source, files, await this.#opened(source, OPEN_ATTEMPTS))
      }),
    )
    const failed = opened.find((result) => result.status === 'rejected')
    if (!failed) return
    await this.close()
    throw failed.reason
  }

  #serve(source: ModelSource, files: Record<string, Uint8Array>, engine: Engine): Entry {
    const entry: Entry = { source, files, engine, successor: null, next: withResolvers() }
    entry.next.promise.catch(() => {})
    this.#served.set(source.name, entry)
    void engine.closed.then((cause) => {
      if (this.#closing.signal.aborted) return entry.next.reject(CLOSED)
      entry.successor = entry.next.promise
      for (const listener of this.#listeners) listener(source.name)
      this.#options.log(`engine of ${source.name} is gone (${cause?.message ?? 'closed'}), opening it again`)
      void this.#succeed(entry)
    })
    return entry
  }

  async #succeed({ source, files, next }: Entry): Promise<void> {
    try {
      next.resolve(this.#serve(source, files, await this.#opened(source, Number.POSITIVE_INFINITY)).engine)
    } catch {
      next.reject(CLOSED)
    }
  }

  /** A process that was killed while it opened is not the model's fault: it is tried again, ever more slowly. */
  async #opened(source: ModelSource, attempts: number): Promise<Engine> {
    const { signal } = this.#closing
    for (let attempt = 1; ; attempt++) {
      try {
        const engine = await this.#backend.open(source, this.#options, signal)
        if (!signal.aborted) return engine
        await engine.close()
        throw CLOSED
      } catch (cause) {
        const isFinal = !isEngineLoss(cause) && Number.isFinite(attempts)
        if (signal.aborted || attempt >= attempts || isFinal) throw cause
        this.#options.log(`engine of ${source.name} could not be opened: ${(cause as Error).message}`)
        await pause(Math.min(REOPEN_MS.first * 2 ** (attempt - 1), REOPEN_MS.most), signal)
      }
    }
  }

  /** Told when an engine is gone, before it is opened again. */
  onLost(listener: (name: string) => void): void {
    this.#listeners.push(listener)
  }

  names(): string[] {
    return [...this.#served.keys()]
  }

  has(name: string): boolean {
    return this.#served.has(name)
  }

  /** Throws UNKNOWN_BASE_MODEL. The engine may be gone; its `info` holds for its successor too. */
  get(name: string): ServedModel {
    return { name, engine: this.#entry(name).engine }
  }

  /** An engine that works, other than `dead`; waits until it is open. Throws ENGINE_CLOSED when the server closes. */
  async ready(name: string, dead?: Engine): Promise<Engine> {
    const { engine, successor, next } = this.#entry(name)
    return successor ?? (engine === dead ? next.promise : engine)
  }

  #entry(name: string): Entry {
    const entry = this.#served.get(name)
    if (!entry) throw serviceError('UNKNOWN_BASE_MODEL', { name, models: this.names() })
    return entry
  }

  /** Where its files are. Throws UNKNOWN_BASE_MODEL. */
  path(name: string): string {
    return this.#entry(name).source.path
  }

  /** What a hub would hold of this model besides weights: tokenizer, configuration, chat template. */
  files(name: string): Record<string, Uint8Array> | null {
    return this.#served.get(name)?.files ?? null
  }

  /** From now on nobody waits for an engine that is gone. */
  stopReopening(): void {
    this.#closing.abort()
    for (const { successor, next } of this.#served.values()) if (successor) next.reject(CLOSED)
  }

  async close(): Promise<void> {
    this.stopReopening()
    await Promise.all([...this.#served.values()].map(({ engine }) => engine.close()))
  }
}

const CLOSED = engineError('ENGINE_CLOSED', 'the server closes its engines')
interface Deferred<T> {
  readonly promise: Promise<T>
  readonly resolve: (value: T) => void
  readonly reject: (reason: unknown) => void
}

function withResolvers<T>(): Deferred<T> {
  let resolve!: Deferred<T>['resolve']
  let reject!: Deferred<T>['reject']
  const promise = new Promise<T>((yes, no) => {
    resolve = yes
    reject = no
  })
  return { promise, resolve, reject }
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const end = () => {
      clearTimeout(timer)
      signal.removeEventListener('abort', end)
      resolve()
    }
    const timer = setTimeout(end, ms)
    signal.addEventListener('abort', end)
  })
}
