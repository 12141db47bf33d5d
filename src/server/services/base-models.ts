// The base models that this server serves: their names, their files, what their engines can do, and the engines that are in
// this server. Where servers share a database, a model's engine may be in another one; what it can do is known here too.

import type { Backend, BackendOptions, Engine, EngineInfo, ModelSource } from '../../backends/backend.ts'
import { readTokenizerFiles } from '../../formats/hugging-face-folder.ts'
import { serviceError } from '../errors.ts'
import { CLOSED, HostedEngine } from './hosted-engine.ts'

export interface ServedModel {
  readonly name: string
  readonly info: EngineInfo
  /** Null: in another server. It may be gone, and is opened again then. */
  readonly engine: Engine | null
}

/** Which backend serves a base model, by the model's name. */
export type BackendOf = (model: string) => Backend

interface Entry {
  readonly source: ModelSource
  readonly backend: Backend
  readonly files: Record<string, Uint8Array>
  info: EngineInfo | null
  hosted: HostedEngine | null
}

export class BaseModels {
  readonly #backendOf: BackendOf
  readonly #options: BackendOptions
  readonly #entries = new Map<string, Entry>()
  readonly #listeners: ((name: string) => void)[] = []
  /** Engines that are being opened. */
  readonly #opening = new Map<string, AbortController>()
  #isClosing = false

  constructor(backendOf: BackendOf, options: BackendOptions) {
    this.#backendOf = backendOf
    this.#options = options
  }

  /** Throws for files that are no model. */
  load(sources: readonly ModelSource[]): void {
    for (const source of sources) {
      const backend = this.#backendOf(source.name)
      const files = backend.tokenizerFiles?.(source) ?? readTokenizerFiles(source.path)
      this.#entries.set(source.name, { source, backend, files, info: null, hosted: null })
    }
  }

  /** Opens the engines of all of them, or of none: what was opened beside one that cannot be is closed again. */
  async openAll(): Promise<void> {
    const opened = await Promise.allSettled(this.names().map((name) => this.open(name)))
    const failed = opened.find((result) => result.status === 'rejected')
    if (!failed) return
    await this.close()
    throw failed.reason
  }

  /** Throws what the backend throws, or ENGINE_CLOSED when it is dismissed meanwhile. */
  async open(name: string): Promise<EngineInfo> {
    const entry = this.#entry(name)
    const dismissed = new AbortController()
    this.#opening.set(name, dismissed)
    const hosted = await HostedEngine.open({
      name,
      open: (signal) => entry.backend.open(entry.source, this.#options, AbortSignal.any([signal, dismissed.signal])),
      log: this.#options.log,
      onLost: () => {
        for (const listener of this.#listeners) listener(name)
      },
    }).finally(() => this.#opening.delete(name))
    if (dismissed.signal.aborted || this.#isClosing) {
      await hosted.close()
      throw CLOSED
    }
    entry.hosted = hosted
    entry.info = hosted.current.info
    return entry.info
  }

  /** Closes the engine in this server; the model is served on by another one. */
  async dismiss(name: string): Promise<void> {
    this.#opening.get(name)?.abort()
    const entry = this.#entry(name)
    const { hosted } = entry
    entry.hosted = null
    await hosted?.close()
  }

  /** What the engine can do that another server has. */
  learn(name: string, info: EngineInfo): void {
    this.#entry(name).info = info
  }

  /** Told when an engine is gone, before it is opened again. */
  onLost(listener: (name: string) => void): void {
    this.#listeners.push(listener)
  }

  names(): string[] {
    return [...this.#entries.keys()]
  }

  has(name: string): boolean {
    return this.#entries.has(name)
  }

  /** Its engine is gone and is being opened again, in this server. */
  isRestarting(name: string): boolean {
    return this.#entries.get(name)?.hosted?.isGone ?? false
  }

  isKnown(name: string): boolean {
    return this.#entries.get(name)?.info != null
  }

  /** Throws UNKNOWN_BASE_MODEL. */
  get(name: string): ServedModel {
    const { hosted, info: known } = this.#entry(name)
    const info = hosted?.current.info ?? known
    if (!info) throw new Error(`${name} is served before anybody has opened it`)
    return { name, info, engine: hosted?.current ?? null }
  }

  /** An engine that works, other than `dead`; waits until it is open. Throws ENGINE_CLOSED when this server lets go of it. */
  async ready(name: string, dead?: Engine): Promise<Engine> {
    const { hosted } = this.#entry(name)
    if (!hosted) throw CLOSED
    return hosted.ready(dead)
  }

  #entry(name: string): Entry {
    const entry = this.#entries.get(name)
    if (!entry) throw serviceError('UNKNOWN_BASE_MODEL', { name, models: this.names() })
    return entry
  }

  /** The name of what computes it. Throws UNKNOWN_BASE_MODEL. */
  backend(name: string): string {
    return this.#entry(name).backend.name
  }

  /** Where its files are. Throws UNKNOWN_BASE_MODEL. */
  path(name: string): string {
    return this.#entry(name).source.path
  }

  /** What a hub would hold of this model besides weights: tokenizer, configuration, chat template. */
  files(name: string): Record<string, Uint8Array> | null {
    return this.#entries.get(name)?.files ?? null
  }

  /** From now on nobody waits for an engine that is gone. */
  stopReopening(): void {
    this.#isClosing = true
    for (const dismissed of this.#opening.values()) dismissed.abort()
    for (const { hosted } of this.#entries.values()) hosted?.stopReopening()
  }

  async close(): Promise<void> {
    this.stopReopening()
    await Promise.all([...this.#entries.values()].map(({ hosted }) => hosted?.close()))
  }
}
