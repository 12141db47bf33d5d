// Trains one LoRA adapter. Every method submits at once and returns a future; the server carries operations out in the
// order of the calls, so the next one can be queued before the last one's result is there.

import type { RequestBody, Schemas } from '../../generated/operations.ts'
import { ApiFuture } from './future.ts'
import { OUTER_ONLY, type RetryPolicy, STANDARD } from './retry.ts'
import { SamplingClient } from './sampling-client.ts'
import type { OpenSession, Session } from './session.ts'
import { SubmissionQueue } from './submission-queue.ts'
import { unlessAborted } from './timing.ts'
import { loadServedTokenizer, type ServedTokenizer } from './tokenizer.ts'
import {
  chunksOf,
  combineOutputs,
  decodeTrainingOutput,
  encodeTrainingRequest,
  type TrainingHead,
} from './training-wire.ts'
import type { AdamParams, Datum, ForwardBackwardOutput, LossConfig, LossName, OptimStepResult } from './types.ts'

/** Ends the waiting for a result. An operation that was submitted is carried out all the same. */
export interface CallOptions {
  readonly signal?: AbortSignal
}

export interface SaveOptions extends CallOptions {
  readonly ttlSeconds?: number
  readonly userMetadata?: Readonly<Record<string, string>>
}

export interface CheckpointRef {
  /** `tinker://RUN/KIND/NAME` */
  readonly path: string
}

export interface ModelFacts {
  readonly modelId: string
  readonly baseModel: string
  readonly tokenizerId: string
  readonly loraRank: number | undefined
}

/** What the protocol calls an operation in its three places, and how its submission is repeated. */
interface OperationKind {
  readonly id: 'optimStep' | 'saveWeights' | 'loadWeights' | 'saveWeightsForSampler'
  readonly type: string
  readonly retry: RetryPolicy
}

const OPTIM_STEP: OperationKind = { id: 'optimStep', type: 'OptimStep', retry: STANDARD }
const SAVE: OperationKind = { id: 'saveWeights', type: 'SaveWeights', retry: OUTER_ONLY }
const LOAD: OperationKind = { id: 'loadWeights', type: 'LoadWeights', retry: STANDARD }
const PUBLISH: OperationKind = { id: 'saveWeightsForSampler', type: 'SaveWeightsForSampler', retry: OUTER_ONLY }

export class TrainingClient {
  readonly modelId: string
  readonly baseModel: string
  readonly loraRank: number | undefined
  readonly #session: Session
  readonly #tokenizerId: string
  readonly #submissions = new SubmissionQueue()

  /** Made by ServiceClient. */
  constructor(session: Session, facts: ModelFacts) {
    this.#session = session
    this.modelId = facts.modelId
    this.baseModel = facts.baseModel
    this.loraRank = facts.loraRank
    this.#tokenizerId = facts.tokenizerId
  }

  /** Adds the gradient of the loss, summed over all tokens of all data, to what the next `optimStep` applies. */
  forwardBackward(
    data: readonly Datum[],
    lossFn: LossName,
    lossFnConfig: LossConfig = {},
    options: CallOptions = {},
  ): ApiFuture<ForwardBackwardOutput> {
    const head = { modelId: this.modelId, lossName: lossFn, lossConfig: lossFnConfig, isForwardOnly: false }
    return this.#train(head, data, options)
  }

  /** The same outputs without a gradient. */
  forward(
    data: readonly Datum[],
    lossFn: LossName,
    lossFnConfig: LossConfig = {},
    options: CallOptions = {},
  ): ApiFuture<ForwardBackwardOutput> {
    const head = { modelId: this.modelId, lossName: lossFn, lossConfig: lossFnConfig, isForwardOnly: true }
    return this.#train(head, data, options)
  }

  /** Applies the gradients gathered since the last step, and clears them. */
  optimStep(params: AdamParams = {}, options: CallOptions = {}): ApiFuture<OptimStepResult> {
    const adam: Schemas['AdamParams'] = {
      learning_rate: params.learningRate ?? 1e-4,
      beta1: params.beta1 ?? 0.9,
      beta2: params.beta2 ?? 0.95,
      eps: params.eps ?? 1e-12,
      weight_decay: params.weightDecay ?? 0,
      grad_clip_norm: params.gradClipNorm ?? 0,
    }
    const body = { type: 'optim_step', adam_params: adam }
    return this.#operate(OPTIM_STEP, 'optim_step', body, options, (result: Schemas['OptimStepResult']) => ({
      metrics: result.metrics ?? {},
    }))
  }

  /** Keeps weights and optimiser state under a name; `overwrite` replaces an earlier one. */
  saveState(name: string, options: SaveOptions & { readonly overwrite?: boolean } = {}): ApiFuture<CheckpointRef> {
    const body = { type: 'save_weights', path: name, overwrite: options.overwrite ?? false, ...lasting(options) }
    return this.#operate(SAVE, 'save_state', body, options, ({ path }: Schemas['SaveWeightsResult']) => ({ path }))
  }

  /** Replaces the weights by a checkpoint's and starts the optimiser anew. */
  loadState(path: string, options: CallOptions = {}): ApiFuture<CheckpointRef> {
    const body = { type: 'load_weights', path, optimizer: false }
    return this.#operate(LOAD, 'load_state', body, options, () => ({ path }))
  }

  /** Replaces the weights and the optimiser's state by a checkpoint's. */
  loadStateWithOptimizer(path: string, options: CallOptions = {}): ApiFuture<CheckpointRef> {
    const body = { type: 'load_weights', path, optimizer: true }
    return this.#operate(LOAD, 'load_state_with_optimizer', body, options, () => ({ path }))
  }

  /** Keeps the weights under a name, to be sampled from by any client. */
  saveWeightsForSampler(name: string, options: SaveOptions = {}): ApiFuture<CheckpointRef> {
    const body = { type: 'save_weights_for_sampler', path: name, kind: 'snapshot', ...lasting(options) }
    const read = ({ path }: Schemas['NamedSamplerWeights']) => ({ path })
    return this.#operate(PUBLISH, 'save_weights_for_sampler', body, options, read)
  }

  /** A client that samples from the weights of this moment, whatever is trained later. No checkpoint is listed for it. */
  saveWeightsAndGetSamplingClient(options: CallOptions = {}): ApiFuture<SamplingClient> {
    const seqId = this.#session.nextSampler()
    const body = { type: 'save_weights_for_sampler', sampling_session_seq_id: seqId, kind: 'snapshot' }
    const read = ({ sampling_session_id: id }: Schemas['EphemeralSamplerWeights']) => this.#sampler(id)
    return this.#operate(PUBLISH, 'save_weights_and_get_sampling_client', body, options, read)
  }

  /** Text to tokens and back, as this model does it; loaded from the server once. */
  getTokenizer(): Promise<ServedTokenizer> {
    return loadServedTokenizer(this.#session.http, this.#tokenizerId)
  }

  #sampler(samplingSessionId: string): SamplingClient {
    const facts = { samplingSessionId, baseModel: this.baseModel, tokenizerId: this.#tokenizerId }
    return new SamplingClient(this.#session, facts)
  }

  #train(head: TrainingHead, data: readonly Datum[], options: CallOptions): ApiFuture<ForwardBackwardOutput> {
    const type = head.isForwardOnly ? 'Forward' : 'ForwardBackward'
    const method = head.isForwardOnly ? 'TrainingClient.forward' : 'TrainingClient.forward_backward'
    const submitted = this.#submissions.enqueue(async (nextSeqId) => {
      const session = await this.#session.open()
      return this.#submitData(session, head, data, method, nextSeqId)
    }, options.signal)
    const result = submitted.then(async (ids) => {
      const wait = (id: string) => this.#session.binaryResult(id, type, method, options.signal)
      return combineOutputs((await Promise.all(ids.map(wait))).map(decodeTrainingOutput))
    })
    return new ApiFuture(submitted, unlessAborted(result, options.signal))
  }

  /** The request ids of the data's chunks, in the order of the data. */
  async #submitData(
    session: OpenSession,
    head: TrainingHead,
    data: readonly Datum[],
    method: string,
    nextSeqId: () => number,
  ): Promise<string[]> {
    const { maxChunkData, maxChunkBytes, hasParallelChunks } = session.flags
    const jobs = chunksOf(data, { data: maxChunkData, bytes: maxChunkBytes }).map((chunk) => {
      const seqId = nextSeqId()
      const send = () => {
        const body = encodeTrainingRequest(head, chunk, seqId)
        return this.#session.http.json('forwardBackward', { body, method })
      }
      return async () => (await session.uploads.pass(chunk.bytes, send)).request_id
    })
    return hasParallelChunks ? restFirst(jobs) : inTurn(jobs)
  }

  #operate<R, T>(
    kind: OperationKind,
    pythonName: string,
    body: object,
    options: CallOptions,
    read: (result: R) => T,
  ): ApiFuture<T> {
    const method = `TrainingClient.${pythonName}`
    const submitted = this.#submissions.enqueue(async (nextSeqId) => {
      const request = { ...body, model_id: this.modelId, seq_id: nextSeqId() } as RequestBody<typeof kind.id>
      const call = { body: request, method, retry: kind.retry }
      return (await this.#session.http.json(kind.id, call)).request_id
    }, options.signal)
    const result = submitted.then((id) => this.#session.result<R>(id, kind.type, method, options.signal)).then(read)
    return new ApiFuture(submitted, unlessAborted(result, options.signal))
  }
}

function lasting({ ttlSeconds, userMetadata }: SaveOptions): object {
  return {
    ...(ttlSeconds === undefined ? {} : { ttl_seconds: ttlSeconds }),
    ...(userMetadata === undefined ? {} : { user_metadata: { ...userMetadata } }),
  }
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
