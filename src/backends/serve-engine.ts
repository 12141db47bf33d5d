// The engine's side of a stream of frames: opens an engine when asked and carries out the calls of engine-messages.ts on
// it. Knows neither models nor processes; worker.ts gives it both.

import type { Duplex } from 'node:stream'
import { type Engine, EngineError, type ModelSource } from './backend.ts'
import { engineError, toFailure } from './engine-errors.ts'
import {
  type Cancel,
  ENGINE_METHODS,
  type EngineMethod,
  type OpenRequest,
  PROTOCOL_VERSION,
  type Request,
} from './engine-messages.ts'
import { FrameWriter, readFrames } from './frames.ts'

export type OpenEngine = (model: ModelSource, options: OpenRequest['options']) => Promise<Engine>

/**
 * Serves one engine until the stream ends, the engine is closed or it dies; calls under way are aborted then, and the
 * engine is closed. Throws on bytes that are no frames.
 */
export async function serveEngine(stream: Duplex, open: OpenEngine, epoch = 1): Promise<void> {
  const service = new EngineService(stream, open, epoch)
  try {
    for await (const message of readFrames(stream)) service.receive(message)
  } catch (error) {
    // A peer that vanishes (ECONNRESET, EPIPE) is an end like any other.
    if (error instanceof EngineError) throw error
  } finally {
    await service.end()
  }
}

class EngineService {
  readonly #stream: Duplex
  readonly #writer: FrameWriter
  readonly #open: OpenEngine
  readonly #epoch: number
  readonly #running = new Map<number, AbortController>()
  #engine: Promise<Engine> | null = null
  #opened: Engine | null = null

  constructor(stream: Duplex, open: OpenEngine, epoch: number) {
    this.#stream = stream
    this.#writer = new FrameWriter(stream)
    this.#open = open
    this.#epoch = epoch
    stream.on('error', () => {})
  }

  /** Starts what a message asks for. Calls reach the engine in order of arrival, as each waits for the same promise. */
  receive(message: unknown): void {
    if (typeof message !== 'object' || message === null) throw engineError('PROTOCOL', 'a message is an object')
    if ('cancel' in message) this.#running.get((message as Cancel).cancel)?.abort()
    else this.#answer(message as Request).catch(() => this.#stream.destroy())
  }

  async end(): Promise<void> {
    this.#stream.destroy()
    for (const call of this.#running.values()) call.abort()
    // One that is still being opened is not waited for: a worker ends at once.
    if (this.#opened) await this.#opened.close()
    else
      this.#engine?.then(
        (engine) => engine.close(),
        () => {},
      )
  }

  async #answer(request: Request): Promise<void> {
    const { id, aborted } = request
    const abort = new AbortController()
    this.#running.set(id, abort)
    if (aborted) abort.abort()
    try {
      const result = await this.#carryOut(request, abort.signal)
      await this.#writer.write({ id, result: result ?? null })
    } catch (error) {
      await this.#writer.write({ id, error: toFailure(error) })
    } finally {
      this.#running.delete(id)
    }
    if (request.op === 'close') this.#stream.end()
  }

  async #carryOut({ id, epoch, op, args }: Request, signal: AbortSignal): Promise<unknown> {
    if (op === 'open') return this.#start(args[0] as OpenRequest)
    if (!this.#engine) throw engineError('PROTOCOL', `the first call must be open, not ${op}`)
    if (epoch !== this.#epoch) {
      throw engineError(
        'STALE_EPOCH',
        `${op} was meant for epoch ${epoch} of this engine, this is epoch ${this.#epoch}`,
      )
    }
    const engine = await this.#engine
    if (op === 'close') return engine.close()
    if (!Object.hasOwn(ENGINE_METHODS, op)) {
      throw engineError(
        'PROTOCOL',
        `no method ${JSON.stringify(op)}; there are ${Object.keys(ENGINE_METHODS).join(', ')}`,
      )
    }
    const method = engine[op as EngineMethod] as (...args: unknown[]) => unknown
    if (ENGINE_METHODS[op] === 'call') return method.apply(engine, [...args])
    const events = method.apply(engine, [args[0], signal]) as AsyncIterable<unknown>
    for await (const event of events) await this.#writer.write({ id, event })
    return null
  }

  async #start({ protocol, model, options }: OpenRequest) {
    if (this.#engine) throw engineError('PROTOCOL', 'the engine is open already')
    if (protocol !== PROTOCOL_VERSION) {
      throw engineError(
        'PROTOCOL',
        `the server speaks version ${protocol} of the protocol, this engine ${PROTOCOL_VERSION}`,
      )
    }
    this.#engine = this.#open(model, options)
    const engine = await this.#engine
    this.#opened = engine
    engine.closed.then((error) => error && this.#stream.destroy())
    return { protocol: PROTOCOL_VERSION, epoch: this.#epoch, info: engine.info }
  }
}
