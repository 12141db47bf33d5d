// An engine at the other end of a stream: a child process, a worker group on other machines. It turns method calls into
// the messages of engine-messages.ts and keeps track of calls under way. It computes nothing and knows no transport: when
// the stream ends or says what no engine says, whatever was under way fails at once, and `closed` says why.

import type { Duplex } from 'node:stream'
import {
  type AdapterFile,
  type AdapterId,
  type AdapterPart,
  type BackendOptions,
  type ClipResult,
  type Engine,
  EngineError,
  type EngineInfo,
  type EngineStatus,
  type GenerationEvent,
  type GenerationRequest,
  type GradientClip,
  type LoraConfig,
  type ModelSource,
  type OptimResult,
  type OptimStep,
  type Outcome,
  type SnapshotId,
  type TrainingItem,
  type TrainingResult,
} from './backend.ts'
import { cancelled, engineError, toEngineError } from './engine-errors.ts'
import {
  type Answer,
  type EngineMethod,
  type Op,
  type OpenResult,
  PROTOCOL_VERSION,
  type Request,
} from './engine-messages.ts'
import { EventQueue } from './event-queue.ts'
import { FrameWriter, readFrames } from './frames.ts'

/** A call under way. */
interface Call {
  event(event: unknown): void
  resolve(result: unknown): void
  reject(error: EngineError): void
}

export interface ConnectOptions extends Pick<BackendOptions, 'cacheDir' | 'threads'> {
  /**
   * Called when the stream has ended, from whichever side; settles when whatever was behind it is gone, with a sentence on
   * how it went. A launcher waits for its process here.
   */
  readonly gone?: () => Promise<string>
}

/** An engine that takes longer to close is cut off: what it holds can be made again. */
const CLOSE_LIMIT_MS = 5_000

/** Opens `model` in the engine behind `stream`. The stream is destroyed when that fails or `signal` aborts. */
export async function connectEngine(
  stream: Duplex,
  model: ModelSource,
  options: ConnectOptions,
  signal?: AbortSignal,
): Promise<Engine> {
  const connection = new Connection(stream, options.gone)
  const abort = () => connection.end(cancelled(`opening ${model.name}`))
  signal?.addEventListener('abort', abort)
  try {
    if (signal?.aborted) throw cancelled(`opening ${model.name}`)
    const { cacheDir, threads } = options
    const request = { protocol: PROTOCOL_VERSION, model, options: { cacheDir, threads } }
    const { protocol, epoch, info } = (await connection.call('open', [request])) as OpenResult
    if (protocol !== PROTOCOL_VERSION) {
      throw engineError(
        'PROTOCOL',
        `the engine speaks version ${protocol} of the protocol, this is ${PROTOCOL_VERSION}`,
      )
    }
    connection.epoch = epoch
    return new RemoteEngine(connection, info)
  } catch (error) {
    await connection.end(toEngineError(error))
    throw error
  } finally {
    signal?.removeEventListener('abort', abort)
  }
}

class RemoteEngine implements Engine {
  readonly info: EngineInfo
  readonly closed: Promise<EngineError | null>
  readonly #connection: Connection

  constructor(connection: Connection, info: EngineInfo) {
    this.#connection = connection
    this.info = info
    this.closed = connection.closed
  }

  async createAdapter(id: AdapterId, config: LoraConfig): Promise<{ parameters: number }> {
    return (await this.#call('createAdapter', id, config)) as { parameters: number }
  }
  async releaseAdapter(id: AdapterId): Promise<void> {
    await this.#call('releaseAdapter', id)
  }
  async saveAdapter(id: AdapterId, folder: string, part: AdapterPart): Promise<readonly AdapterFile[]> {
    return (await this.#call('saveAdapter', id, folder, part)) as AdapterFile[]
  }
  async loadAdapter(id: AdapterId, folder: string, part: AdapterPart): Promise<void> {
    await this.#call('loadAdapter', id, folder, part)
  }
  train(items: readonly TrainingItem[], signal?: AbortSignal): AsyncIterable<Outcome<TrainingResult>> {
    return this.#connection.stream('train', [items], signal) as AsyncIterable<Outcome<TrainingResult>>
  }
  async optimStep(steps: readonly OptimStep[]): Promise<readonly Outcome<OptimResult>[]> {
    return (await this.#call('optimStep', steps)) as Outcome<OptimResult>[]
  }
  async clipGradients(clips: readonly GradientClip[]): Promise<readonly Outcome<ClipResult>[]> {
    return (await this.#call('clipGradients', clips)) as Outcome<ClipResult>[]
  }
  async discardGradients(id: AdapterId): Promise<void> {
    await this.#call('discardGradients', id)
  }
  async publish(id: AdapterId): Promise<SnapshotId> {
    return (await this.#call('publish', id)) as SnapshotId
  }
  async loadSnapshot(folder: string): Promise<SnapshotId> {
    return (await this.#call('loadSnapshot', folder)) as SnapshotId
  }
  async releaseSnapshot(id: SnapshotId): Promise<void> {
    await this.#call('releaseSnapshot', id)
  }
  generate(request: GenerationRequest, signal?: AbortSignal): AsyncIterable<GenerationEvent> {
    return this.#connection.stream('generate', [request], signal) as AsyncIterable<GenerationEvent>
  }
  async status(): Promise<EngineStatus> {
    return (await this.#call('status')) as EngineStatus
  }
  async close(): Promise<void> {
    await this.#connection.close()
  }

  #call(op: EngineMethod, ...args: unknown[]): Promise<unknown> {
    return this.#connection.call(op, args)
  }
}

const CLOSED = engineError('ENGINE_CLOSED', 'the engine was closed')

/** Calls over one stream, by id. */
class Connection {
  epoch = 0
  readonly closed: Promise<EngineError | null>
  readonly #stream: Duplex
  readonly #writer: FrameWriter
  readonly #calls = new Map<number, Call>()
  #lastId = 0
  #ended: EngineError | null = null
  #closing = false
  readonly #gone: () => Promise<string>
  #settle!: (error: EngineError | null) => void

  constructor(stream: Duplex, gone = async () => 'the stream to the engine ended') {
    this.#stream = stream
    this.#writer = new FrameWriter(stream)
    this.#gone = gone
    this.closed = new Promise((resolve) => {
      this.#settle = resolve
    })
    // What breaks while nobody reads or writes is seen by the next one who does.
    stream.on('error', () => {})
    this.#read()
  }

  call(op: Op, args: readonly unknown[]): Promise<unknown> {
    return new Promise((resolve, reject) => {
      this.#start(op, args, { event: () => this.#violated(`${op} does not stream`), resolve, reject })
    })
  }

  /** Yields the events of a call. Leaving early, or an abort, cancels it; it is over for both sides when this returns. */
  async *stream(op: Op, args: readonly unknown[], signal?: AbortSignal): AsyncGenerator<unknown> {
    const events = new EventQueue<unknown>()
    let isOver = false
    let settle = () => {}
    const over = new Promise<void>((resolve) => {
      settle = () => {
        isOver = true
        resolve()
      }
    })
    const call = {
      event: (event: unknown) => events.push(event),
      resolve: () => [events.end(), settle()],
      reject: (error: EngineError) => [events.fail(error), settle()],
    }
    const id = this.#start(op, args, call, signal?.aborted)
    const cancel = () => {
      if (!isOver) this.#writer.write({ cancel: id })
    }
    signal?.addEventListener('abort', cancel)
    try {
      yield* events
    } finally {
      signal?.removeEventListener('abort', cancel)
      cancel()
      await over
    }
  }

  /** Ends the connection from this side: calls under way get `error`, and so do later ones. */
  async end(error: EngineError, byItself = false): Promise<void> {
    if (this.#ended) return
    this.#ended = error
    this.#stream.destroy()
    for (const call of this.#calls.values()) call.reject(error)
    this.#calls.clear()
    await this.#gone()
    this.#settle(byItself ? error : null)
  }

  async close(): Promise<void> {
    if (!this.#ended && !this.#closing) {
      this.#closing = true
      const limit = setTimeout(() => this.end(CLOSED), CLOSE_LIMIT_MS)
      // An engine that dies while it closes is closed as well.
      await this.call('close', []).catch(() => undefined)
      clearTimeout(limit)
      this.end(CLOSED)
    }
    await this.closed
  }

  #start(op: Op, args: readonly unknown[], call: Call, aborted = false): number {
    const id = ++this.#lastId
    if (this.#ended) {
      call.reject(this.#ended)
      return id
    }
    this.#calls.set(id, call)
    const request: Request = { id, epoch: this.epoch, op, args, ...(aborted && { aborted }) }
    this.#writer.write(request).catch((error) => {
      this.#calls.delete(id)
      call.reject(toEngineError(error))
    })
    return id
  }

  async #read(): Promise<void> {
    try {
      for await (const message of readFrames(this.#stream)) this.#receive(message as Answer)
    } catch (error) {
      if (error instanceof EngineError) return this.#violated(error.message)
      // The stream broke, which is an end like any other.
    }
    if (this.#closing) return this.end(CLOSED)
    if (!this.#ended) this.end(engineError('ENGINE_LOST', await this.#gone()), true)
  }

  #receive(answer: Answer): void {
    const call = this.#calls.get(answer?.id)
    if (!call) {
      this.#violated(`it answered a call ${answer?.id} that is not under way`)
    } else if ('event' in answer) {
      call.event(answer.event)
    } else if ('result' in answer) {
      this.#calls.delete(answer.id)
      call.resolve(answer.result)
    } else if ('error' in answer) {
      this.#calls.delete(answer.id)
      call.reject(new EngineError(answer.error))
    } else {
      this.#violated('an answer has an event, a result or an error')
    }
  }

  /** Nothing that it says can be relied on any more: it is as lost as a dead one, and its work is its successor's. */
  #violated(sentence: string): void {
    this.end(engineError('ENGINE_LOST', `the engine broke the protocol: ${sentence}`), true)
  }
}
