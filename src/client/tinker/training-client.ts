// Trains one LoRA adapter. Every method submits at once and returns a future; the server carries operations out in the
// order of the calls, so the next one can be queued before the last one's result is there.

import type { Schemas } from '../../generated/operations.ts'
import { snaked } from './camel.ts'
import { consoleUrl } from './console-url.ts'
import { type CustomLoss, checkLossInputs, type LossHandle, localLoss } from './custom-loss.ts'
import { TinkerError } from './errors.ts'
import { ApiFuture } from './future.ts'
import { type CallOptions, EXPORT, LOAD, ModelOperations, OPTIM_STEP, PUBLISH, SAVE } from './model-operations.ts'
import { createSampler, SamplingClient, type SamplingOptions } from './sampling-client.ts'
import type { Session } from './session.ts'
import { loadTokenizer, type ServedTokenizer } from './tokenizer.ts'
import type {
  AdamParams,
  Datum,
  ForwardBackwardOutput,
  LossConfig,
  LossName,
  OptimParams,
  OptimStepResult,
  TrainingInfo,
} from './types.ts'

export interface SaveOptions extends CallOptions {
  readonly ttlSeconds?: number
  readonly userMetadata?: Readonly<Record<string, string>>
}

export interface ExportOptions extends CallOptions {
  readonly ttlSeconds?: number
  /** Public keys of age; the files are encrypted for them. */
  readonly ageEncryptionRecipients?: readonly string[]
}

export interface LoadOptions extends CallOptions {
  /** A key of the tenant that owns the checkpoint, where that is another one. */
  readonly weightsAccessToken?: string
}

export interface SnapshotOptions extends SamplingOptions, CallOptions {
  /**
   * `snapshot`: samples from the weights of this moment, whatever is trained later. `inflight`: all inflight samplers of the
   * model move on to the newest weights that any of them was made from.
   */
  readonly kind?: 'snapshot' | 'inflight'
}

export interface CheckpointRef {
  /** `tinker://RUN/KIND/NAME` */
  readonly path: string
}

export class TrainingClient {
  readonly modelId: string
  readonly baseModel: string
  readonly loraRank: number | undefined
  readonly #session: Session
  readonly #info: TrainingInfo
  readonly #operations: ModelOperations

  /** Made by ServiceClient. Throws TinkerError when the server does not name the base model. */
  constructor(session: Session, info: TrainingInfo) {
    const baseModel = info.modelData.modelName ?? info.modelName
    if (!baseModel) throw new TinkerError(`The server does not say which base model ${info.modelId} has.`)
    this.#session = session
    this.#info = info
    this.modelId = info.modelId
    this.baseModel = baseModel
    this.loraRank = info.loraRank ?? undefined
    this.#operations = new ModelOperations(session, info.modelId)
  }

  /** Adds the gradient of the loss, summed over all tokens of all data, to what the next `optimStep` applies. */
  forwardBackward(
    data: readonly Datum[],
    lossFn: LossName,
    lossFnConfig: LossConfig = {},
    options: CallOptions = {},
  ): ApiFuture<ForwardBackwardOutput> {
    const head = { lossName: lossFn, lossConfig: lossFnConfig, isForwardOnly: false }
    return this.#operations.train(head, data, 'TrainingClient.forward_backward', options)
  }

  /** The same outputs without a gradient. */
  forward(
    data: readonly Datum[],
    lossFn: LossName,
    lossFnConfig: LossConfig = {},
    options: CallOptions = {},
  ): ApiFuture<ForwardBackwardOutput> {
    const head = { lossName: lossFn, lossConfig: lossFnConfig, isForwardOnly: true }
    return this.#operations.train(head, data, 'TrainingClient.forward', options)
  }

  /**
   * `forwardBackward` with a loss of one's own: a function of data and log-probabilities that gives loss and gradients, or a
   * handle of `ServiceClient.createCustomLoss`. `loss:sum` of the result is that loss; data need `target_tokens`.
   */
  forwardBackwardCustom(
    data: readonly Datum[],
    loss: CustomLoss | LossHandle,
    options: CallOptions = {},
  ): ApiFuture<ForwardBackwardOutput> {
    if (typeof loss === 'function') return this.#operations.trainCustom(data, loss, options)
    if (loss.sessionId !== this.#session.id) {
      const problem = `The loss ${loss.name} was made in session ${loss.sessionId}: only clients of that session can use it.`
      return failed(new TinkerError(problem))
    }
    try {
      checkLossInputs(loss, data)
    } catch (error) {
      return failed(error)
    }
    if (loss.lossId === undefined) return this.#operations.trainCustom(data, localLoss(loss), options)
    const head = { lossName: 'custom', lossConfig: { loss_id: loss.lossId }, isForwardOnly: false }
    return this.#operations.train(head, data, 'TrainingClient.forward_backward_custom', options)
  }

  /** Applies the gradients gathered since the last step, and clears them. */
  optimStep(params: OptimParams = {}, options: CallOptions = {}): ApiFuture<OptimStepResult> {
    const body = { type: 'optim_step', ...('type' in params ? { optimizer_params: other(params) } : adam(params)) }
    return this.#operations.operate(OPTIM_STEP, 'optim_step', body, options, (result: Schemas['OptimStepResult']) => ({
      metrics: result.metrics ?? {},
    }))
  }

  /** Keeps weights and optimiser state under a name; `overwrite` replaces an earlier one. */
  saveState(name: string, options: SaveOptions & { readonly overwrite?: boolean } = {}): ApiFuture<CheckpointRef> {
    const body = { type: 'save_weights', path: name, overwrite: options.overwrite ?? false, ...lasting(options) }
    return this.#operations.operate(SAVE, 'save_state', body, options, refOf)
  }

  /**
   * Replaces the weights by a checkpoint's and starts the optimiser anew. Deprecated by the Python SDK, and refused by some
   * servers: prefer `ServiceClient.createTrainingClientFromState`.
   */
  loadState(path: string, options: LoadOptions = {}): ApiFuture<CheckpointRef> {
    return this.#load(path, false, 'load_state', options)
  }

  /** Replaces the weights and the optimiser's state by a checkpoint's; deprecated as `loadState` is. */
  loadStateWithOptimizer(path: string, options: LoadOptions = {}): ApiFuture<CheckpointRef> {
    return this.#load(path, true, 'load_state_with_optimizer', options)
  }

  /** Keeps the weights under a name, to be sampled from by any client. */
  saveWeightsForSampler(name: string, options: SaveOptions = {}): ApiFuture<CheckpointRef> {
    const body = { type: 'save_weights_for_sampler', path: name, kind: 'snapshot', ...lasting(options) }
    return this.#operations.operate(PUBLISH, 'save_weights_for_sampler', body, options, refOf)
  }

  /** Keeps the weights as a PEFT folder, to be fetched by `RestClient.getExternalWeightsUrls`. */
  saveWeightsExternal(name: string, options: ExportOptions = {}): ApiFuture<CheckpointRef> {
    const recipients = options.ageEncryptionRecipients
    const body = {
      type: 'save_weights_external',
      path: name,
      ...lasting(options),
      ...(recipients === undefined ? {} : { age_encryption_recipients: [...recipients] }),
    }
    return this.#operations.operate(EXPORT, 'save_weights_external', body, options, refOf)
  }

  /** A client that samples from the weights of this moment, whatever is trained later. No checkpoint is listed for it. */
  saveWeightsAndGetSamplingClient(options: SnapshotOptions = {}): ApiFuture<SamplingClient> {
    const body = () => ({
      type: 'save_weights_for_sampler',
      sampling_session_seq_id: this.#session.nextSampler(),
      kind: options.kind ?? 'snapshot',
    })
    const read = ({ sampling_session_id: samplingSessionId }: Schemas['EphemeralSamplerWeights']) =>
      new SamplingClient(this.#session, { samplingSessionId, baseModel: this.baseModel, ...this.#tokenizer }, options)
    return this.#operations.operate(PUBLISH, 'save_weights_and_get_sampling_client', body, options, read)
  }

  /** Samples a checkpoint by its `tinker://` path. */
  createSamplingClient(modelPath: string, options: SamplingOptions = {}): Promise<SamplingClient> {
    return createSampler(this.#session, { modelPath }, 'TrainingClient.create_sampling_client', options)
  }

  /** What the server said of this adapter when the client was made. Asks nothing. */
  getInfo(): TrainingInfo {
    return this.#info
  }

  /** Text to tokens and back, as this model does it; loaded once. */
  getTokenizer(): Promise<ServedTokenizer> {
    return loadTokenizer(this.#session.http, this.baseModel, this.#info.modelData.tokenizerId)
  }

  /** The page of this run in the hosted service's console. Throws TinkerError for other servers, which have none. */
  getConsoleUrl(): string {
    return consoleUrl(this.#session.http.baseUrl, 'training_runs', this.modelId)
  }

  get #tokenizer(): { tokenizerId?: string } {
    const tokenizerId = this.#info.modelData.tokenizerId
    return tokenizerId ? { tokenizerId } : {}
  }

  #load(path: string, optimizer: boolean, pythonName: string, options: LoadOptions): ApiFuture<CheckpointRef> {
    const token = options.weightsAccessToken
    const access = token === undefined ? {} : { weights_access_token: token }
    const body = { type: 'load_weights', path, optimizer, ...access }
    return this.#operations.operate(LOAD, pythonName, body, options, () => ({ path }))
  }
}

function refOf({ path }: { readonly path: string }): CheckpointRef {
  return { path }
}

function adam(params: AdamParams): { readonly adam_params: Schemas['AdamParams'] } {
  return {
    adam_params: {
      learning_rate: params.learningRate ?? 1e-4,
      beta1: params.beta1 ?? 0.9,
      beta2: params.beta2 ?? 0.95,
      eps: params.eps ?? 1e-12,
      weight_decay: params.weightDecay ?? 0,
      grad_clip_norm: params.gradClipNorm ?? 0,
    },
  }
}

/** Parameters of other optimisers as they are; Dimuon's own defaults are sent, as the Python SDK sends them. */
function other(params: Exclude<OptimParams, AdamParams>): unknown {
  const defaults = params.type === 'dimuon' ? { gradClipNorm: 0, beta1: 0.9 } : {}
  return snaked({ ...defaults, ...params })
}

function lasting({ ttlSeconds, userMetadata }: SaveOptions): object {
  return {
    ...(ttlSeconds === undefined ? {} : { ttl_seconds: ttlSeconds }),
    ...(userMetadata === undefined ? {} : { user_metadata: { ...userMetadata } }),
  }
}

function failed<T>(error: unknown): ApiFuture<T> {
  const rejection = Promise.reject(error)
  return new ApiFuture<T>(rejection, rejection as Promise<T>)
}
