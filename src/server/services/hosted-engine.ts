// The engine of one base model in this server. When it dies it is opened again, until that works or the server lets go of
// it; whoever had work in it asks for its successor. Knows engines, not adapters.

import type { Engine } from '../../backends/backend.ts'
import { engineError } from '../../backends/engine-errors.ts'
import { isEngineLoss } from './engine-loss.ts'

export interface HostedEngineParts {
  /** What clients call the model. */
  readonly name: string
  readonly open: (signal: AbortSignal) => Promise<Engine>
  readonly log: (line: string) => void
  /** Told when an engine is gone, before it is opened again. */
  readonly onLost: () => void
}

/** Between two attempts at opening an engine again. */
const REOPEN_MS = { first: 100, most: 10_000 }
/** At the first time; afterwards there is no limit. */
const OPEN_ATTEMPTS = 3

/** One engine in the line of successors. */
interface Life {
  readonly engine: Engine
  isGone: boolean
  /** Tells the successor to whoever asks, also before anybody knows that there must be one. */
  readonly next: Deferred<Engine>
}

export class HostedEngine {
  readonly #parts: HostedEngineParts
  readonly #closing = new AbortController()
  #life!: Life

  private constructor(parts: HostedEngineParts) {
    this.#parts = parts
  }

  static async open(parts: HostedEngineParts): Promise<HostedEngine> {
    const hosted = new HostedEngine(parts)
    hosted.#begin(await hosted.#opened(OPEN_ATTEMPTS))
    return hosted
  }

  /** May be gone; its `info` holds for its successor too. */
  get current(): Engine {
    return this.#life.engine
  }

  /** It is gone, and its successor is not there yet. */
  get isGone(): boolean {
    return this.#life.isGone
  }

  /** An engine that works, other than `dead`; waits until it is open. Throws ENGINE_CLOSED when the server lets go. */
  async ready(dead?: Engine): Promise<Engine> {
    const { engine, isGone, next } = this.#life
    return isGone || engine === dead ? next.promise : engine
  }

  #begin(engine: Engine): void {
    const life: Life = { engine, isGone: false, next: withResolvers() }
    life.next.promise.catch(() => {})
    this.#life = life
    void engine.closed.then((cause) => {
      if (this.#closing.signal.aborted) return life.next.reject(CLOSED)
      life.isGone = true
      this.#parts.onLost()
      this.#parts.log(`engine of ${this.#parts.name} is gone (${cause?.message ?? 'closed'}), opening it again`)
      void this.#succeed(life)
    })
  }

  async #succeed({ next }: Life): Promise<void> {
    try {
      this.#begin(await this.#opened(Number.POSITIVE_INFINITY))
      next.resolve(this.#life.engine)
    } catch {
      next.reject(CLOSED)
    }
  }

  /** A process that was killed while it opened is not the model's fault: it is tried again, ever more slowly. */
  async #opened(attempts: number): Promise<Engine> {
    const { signal } = this.#closing
    for (let attempt = 1; ; attempt++) {
      try {
        const engine = await this.#parts.open(signal)
        if (!signal.aborted) return engine
        await engine.close()
        throw CLOSED
      } catch (cause) {
        const isFinal = !isEngineLoss(cause) && Number.isFinite(attempts)
        if (signal.aborted || attempt >= attempts || isFinal) throw cause
        this.#parts.log(`engine of ${this.#parts.name} could not be opened: ${(cause as Error).message}`)
        await pause(Math.min(REOPEN_MS.first * 2 ** (attempt - 1), REOPEN_MS.most), signal)
      }
    }
  }

  /** From now on nobody waits for an engine that is gone. */
  stopReopening(): void {
    this.#closing.abort()
    if (this.#life.isGone) this.#life.next.reject(CLOSED)
  }

  /** Whatever is under way fails with ENGINE_CLOSED. */
  async close(): Promise<void> {
    this.stopReopening()
    await this.#life.engine.close()
  }
}

export const CLOSED = engineError('ENGINE_CLOSED', 'the server closes its engines')

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
