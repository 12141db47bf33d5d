// The operations of one adapter on their way: each submission in its turn and under its numbers, its result awaited apart
// from the others'. It knows the protocol's kinds of operations; what callers give and get is the training client's.

import type { RequestBody } from '../../generated/operations.ts'
import { backwardData, type CustomLoss, type CustomLossValue, forwardData, logprobsOf } from './custom-loss.ts'
import { ApiFuture } from './future.ts'
import { OUTER_ONLY, type RetryPolicy, STANDARD } from './retry.ts'
import type { OpenSession, Session } from './session.ts'
import { SubmissionQueue } from './submission-queue.ts'
import { unlessAborted } from './timing.ts'
import {
  type Chunk,
  chunksOf,
  combineOutputs,
  decodeTrainingOutput,
  encodeChunk,
  encodeTrainingRequest,
  type TrainingHead,
} from './training-wire.ts'
import type { Datum, ForwardBackwardOutput } from './types.ts'
import { zstdFrame } from './zstd-frame.ts'

/** Ends the waiting for a result. An operation that was submitted is carried out all the same. */
export interface CallOptions {
  readonly signal?: AbortSignal
}

/** What the protocol calls an operation in its three places, and how its submission is repeated. */
export interface OperationKind {
  readonly id: 'optimStep' | 'saveWeights' | 'loadWeights' | 'saveWeightsForSampler' | 'saveWeightsExternal'
  readonly type: string
  readonly retry: RetryPolicy
}

export const OPTIM_STEP: OperationKind = { id: 'optimStep', type: 'OptimStep', retry: STANDARD }
export const SAVE: OperationKind = { id: 'saveWeights', type: 'SaveWeights', retry: OUTER_ONLY }
export const LOAD: OperationKind = { id: 'loadWeights', type: 'LoadWeights', retry: STANDARD }
export const PUBLISH: OperationKind = { id: 'saveWeightsForSampler', type: 'SaveWeightsForSampler', retry: OUTER_ONLY }
export const EXPORT: OperationKind = { id: 'saveWeightsExternal', type: 'SaveWeightsExternal', retry: OUTER_ONLY }

/** An acknowledged request. */
interface Acknowledged {
  readonly requestId: string
  readonly roundtripMs: number
}

const CROSS_ENTROPY = { lossName: 'cross_entropy', lossConfig: {} }
const CUSTOM_METHOD = 'TrainingClient.forward_backward_custom'

export class ModelOperations {
  readonly #session: Session
  readonly #modelId: string
  readonly #queue = new SubmissionQueue()

  constructor(session: Session, modelId: string) {
    this.#session = session
    this.#modelId = modelId
  }

  /** An operation whose result is JSON. `body` may be a function: it is called when the turn has come. */
  operate<R, T>(
    kind: OperationKind,
    pythonName: string,
    body: object | (() => object),
    options: CallOptions,
    read: (result: R) => T,
  ): ApiFuture<T> {
    const method = `TrainingClient.${pythonName}`
    const submitted = this.#queue.enqueue(async (nextSeqId) => {
      const content = typeof body === 'function' ? body() : body
      const request = { ...content, model_id: this.#modelId, seq_id: nextSeqId() } as RequestBody<typeof kind.id>
      const call = { body: request, method, retry: kind.retry }
      return acknowledged(async () => (await this.#session.http.json(kind.id, call)).request_id)
    }, options.signal)
    const result = submitted
      .then((ack) => this.#session.result<R>({ ...ack, type: kind.type, method, signal: options.signal }))
      .then(read)
    return this.#future(submitted, result, options)
  }

  train(
    head: Omit<TrainingHead, 'modelId'>,
    data: readonly Datum[],
    method: string,
    options: CallOptions,
  ): ApiFuture<ForwardBackwardOutput> {
    const submitted = this.#queue.enqueue(async (nextSeqId) => {
      const session = await this.#session.open()
      return this.#submit(session, head, cut(session, data), method, nextSeqId)
    }, options.signal)
    const result = submitted.then((acks) => this.#output(acks, head, method, options))
    return this.#future(submitted, result, options)
  }

  /** Two passes in one turn: what is called later is submitted after the second. */
  trainCustom(data: readonly Datum[], loss: CustomLoss, options: CallOptions): ApiFuture<ForwardBackwardOutput> {
    const submitted = this.#queue.enqueue(async (nextSeqId) => {
      const session = await this.#session.open()
      const chunks = cut(session, forwardData(data))
      const forward = { ...CROSS_ENTROPY, isForwardOnly: true }
      const asked = await this.#submit(session, forward, chunks, CUSTOM_METHOD, nextSeqId)
      const output = await this.#output(asked, forward, CUSTOM_METHOD, options)
      const logprobs = data.map((_, index) => logprobsOf(output, index))
      const value = await loss(data, logprobs)
      options.signal?.throwIfAborted()
      const backward = alike(chunks, backwardData(data, output, value))
      const acks = await this.#submit(
        session,
        { ...CROSS_ENTROPY, isForwardOnly: false },
        backward,
        CUSTOM_METHOD,
        nextSeqId,
      )
      return { acks, value }
    }, options.signal)
    const result = submitted.then(async ({ acks, value }) => {
      const output = await this.#output(acks, { ...CROSS_ENTROPY, isForwardOnly: false }, CUSTOM_METHOD, options)
      return withCustomMetrics(output, value)
    })
    return this.#future(submitted, result, options)
  }

  #future<T>(submitted: Promise<unknown>, result: Promise<T>, options: CallOptions): ApiFuture<T> {
    return new ApiFuture(submitted, unlessAborted(this.#session.watch(result), options.signal))
  }

  async #output(
    acks: readonly Acknowledged[],
    head: Omit<TrainingHead, 'modelId'>,
    method: string,
    options: CallOptions,
  ): Promise<ForwardBackwardOutput> {
    const type = head.isForwardOnly ? 'Forward' : 'ForwardBackward'
    const wait = (ack: Acknowledged) => this.#session.binaryResult({ ...ack, type, method, signal: options.signal })
    return combineOutputs((await Promise.all(acks.map(wait))).map(decodeTrainingOutput))
  }

  /** Acknowledgements of the chunks, in the order of the data. */
  #submit(
    session: OpenSession,
    head: Omit<TrainingHead, 'modelId'>,
    chunks: readonly Chunk[],
    method: string,
    nextSeqId: () => number,
  ): Promise<Acknowledged[]> {
    const isCompressed = session.config.proto_compress_fwdbwd ?? false
    const encode = this.#session.connection.zstd ?? zstdFrame
    const headers = isCompressed ? { 'content-encoding': 'zstd' } : {}
    const jobs = chunks.map((chunk) => {
      const seqId = nextSeqId()
      const send = () =>
        acknowledged(async () => {
          const bytes = encodeTrainingRequest({ ...head, modelId: this.#modelId }, chunk, seqId)
          const body = isCompressed ? await encode(bytes) : bytes
          return (await this.#session.http.json('forwardBackward', { body, headers, method })).request_id
        })
      return () => session.uploads.pass(chunk.bytes, send)
    })
    return (session.config.parallel_fwdbwd_chunks ?? true) ? restFirst(jobs) : inTurn(jobs)
  }
}

function cut({ config }: OpenSession, data: readonly Datum[]): Chunk[] {
  return chunksOf(data, {
    data: config.fwdbwd_max_chunk_len ?? 1024,
    bytes: config.fwdbwd_max_chunk_bytes_count ?? 5_000_000,
  })
}

/** The data of the second pass, cut where those of the first were, so that results stand beside each other. */
function alike(chunks: readonly Chunk[], data: readonly Datum[]): Chunk[] {
  let at = 0
  return chunks.map((chunk) => {
    const start = at
    at += chunk.data.length
    return encodeChunk(data.slice(start, at))
  })
}

/** The loss is the caller's; what the server summed up instead has a name of its own. */
function withCustomMetrics(output: ForwardBackwardOutput, { loss, metrics }: CustomLossValue): ForwardBackwardOutput {
  const { 'loss:sum': surrogate, ...others } = output.metrics
  const sums = { 'loss:sum': loss, ...(surrogate === undefined ? {} : { 'surrogate_loss:sum': surrogate }) }
  return { ...output, metrics: { ...others, ...metrics, ...sums } }
}

async function acknowledged(submit: () => Promise<string>): Promise<Acknowledged> {
  const start = Date.now()
  const requestId = await submit()
  return { requestId, roundtripMs: Date.now() - start }
}

/** All but the first at once, then the first: a server starts on a batch when its whole rest is there. */
async function restFirst<T>(jobs: readonly (() => Promise<T>)[]): Promise<T[]> {
  const [first, ...rest] = jobs
  const answers = await Promise.all(rest.map((job) => job()))
  return first ? [await first(), ...answers] : answers
}

async function inTurn<T>(jobs: readonly (() => Promise<T>)[]): Promise<T[]> {
  const answers: T[] = []
  for (const job of jobs) answers.push(await job())
  return answers
}
