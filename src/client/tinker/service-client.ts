// The entrance: names a server, and makes the clients that train and sample there. Nothing is sent before it is needed.

import type { Schemas } from '../../generated/operations.ts'
import { camelized, snaked } from './camel.ts'
import { Connection, type ConnectionOptions } from './connection.ts'
import { consoleUrl } from './console-url.ts'
import { type InputRank, type LossHandle, type TracedLoss, traceLoss } from './custom-loss.ts'
import { TinkerError } from './errors.ts'
import type { CallOptions } from './model-operations.ts'
import { type CopyOptions, copyWeights, RestClient } from './rest-client.ts'
import { INNER_ONLY } from './retry.ts'
import { createSampler, type SamplerSource, type SamplingClient, type SamplingOptions } from './sampling-client.ts'
import { integer } from './sampling-wire.ts'
import { Session, type SessionOptions } from './session.ts'
import { TrainingClient } from './training-client.ts'
import { transport } from './transport.ts'
import type { LoraOptions, OptimizerConfig } from './types.ts'

export type ServiceOptions = ConnectionOptions & SessionOptions

export interface ResumeOptions {
  readonly baseModel?: string
  readonly userMetadata?: Readonly<Record<string, string>>
  /** A key of the tenant that owns the checkpoint, where that is another one. */
  readonly weightsAccessToken?: string
}

/**
 * ```ts
 * const service = new ServiceClient({ baseUrl: 'http://127.0.0.1:8000', apiKey: 'tml-local' })
 * const training = await service.createLoraTrainingClient({ baseModel: 'twinkle/tiny', rank: 8 })
 * ```
 */
export class ServiceClient {
  readonly #session: Session
  readonly #options: ServiceOptions
  #rest: Connection | undefined

  /** Throws TinkerError without a key, for a key that is none, or for a URL that is none. */
  constructor(options: ServiceOptions = {}) {
    // All connections of this client are of the transport of this moment.
    this.#options = { ...options, ...transport.connect(options) }
    this.#session = new Session(new Connection(this.#options), options)
  }

  /** The same as that of a RestClient, which needs no service. */
  async getServerCapabilities(options: CallOptions = {}) {
    const connection = this.#sessionless()
    await connection.open()
    const call = { method: 'ServiceClient.get_server_capabilities', signal: options.signal }
    return camelized(await connection.http.json('getServerCapabilities', call))
  }

  /** Asks about runs, checkpoints and sessions; it begins no session. */
  createRestClient(): RestClient {
    return new RestClient(this.#sessionless())
  }

  /** A new LoRA adapter of a base model. Throws TinkerError when nothing of it would be trained. */
  async createLoraTrainingClient(options: LoraOptions & CallOptions): Promise<TrainingClient> {
    const { trainMlp = true, trainAttn = true, trainUnembed = true, seed, userMetadata } = options
    if (!trainMlp && !trainAttn && !trainUnembed) {
      throw new TinkerError('One of trainMlp, trainAttn and trainUnembed must be true.')
    }
    const lora = {
      rank: options.rank ?? 32,
      ...(seed === undefined ? {} : { seed: integer(seed) }),
      train_unembed: trainUnembed,
      train_mlp: trainMlp,
      train_attn: trainAttn,
    }
    return this.#create('createModel', 'CreateModel', 'create_lora_training_client', options, {
      base_model: options.baseModel,
      lora_config: lora,
      optimizer_config: snaked(options.optimizer ?? { type: 'adamw' }),
      ...(userMetadata ? { user_metadata: { ...userMetadata } } : {}),
      type: 'create_model',
    })
  }

  /** Goes on from a checkpoint's weights, with a new optimiser. */
  createTrainingClientFromState(
    path: string,
    options: ResumeOptions & CallOptions & { readonly optimizer?: OptimizerConfig } = {},
  ): Promise<TrainingClient> {
    const config = options.optimizer ? { optimizer_config: snaked(options.optimizer) } : {}
    return this.#resume(path, { optimizer: false, ...config }, 'create_training_client_from_state', options)
  }

  /** Goes on exactly where a checkpoint was written, optimiser included. */
  createTrainingClientFromStateWithOptimizer(
    path: string,
    options: ResumeOptions & CallOptions = {},
  ): Promise<TrainingClient> {
    return this.#resume(path, { optimizer: true }, 'create_training_client_from_state_with_optimizer', options)
  }

  /** Samples a base model, or a checkpoint by its `tinker://` path. */
  createSamplingClient(source: SamplerSource & SamplingOptions): Promise<SamplingClient> {
    return this.#session.watch(createSampler(this.#session, source, 'ServiceClient.create_sampling_client', source))
  }

  /**
   * A loss by operations on tensors, for `TrainingClient.forwardBackwardCustom`. Traced now, once; the server computes it if
   * it says that it can, else this process does, with the gradient that follows from the operations. `inputRanks` names
   * what it reads: `logprobs` first, then loss inputs, each 0 (scalar), 1 ([T]) or 2 ([T, K]).
   *
   * ```ts
   * const loss = await service.createCustomLoss(
   *   'squares',
   *   ({ logprobs, weights }) => ({ loss: logprobs.square().mul(weights).sum() }),
   *   { logprobs: 1, weights: 1 },
   * )
   * ```
   */
  async createCustomLoss<Names extends string>(
    name: string,
    loss: TracedLoss<Names>,
    inputRanks: Readonly<Record<Names, InputRank>>,
    options: CallOptions = {},
  ): Promise<LossHandle> {
    const traced = traceLoss(name, loss, inputRanks)
    const { id: sessionId, config } = await this.#session.open()
    if (!config.custom_loss_server_side) return { name, sessionId, ...traced, lossId: undefined }
    const method = 'ServiceClient.create_custom_loss'
    const { request_id: requestId } = await this.#session.http.json('createCustomLoss', {
      body: {
        session_id: sessionId,
        custom_loss_seq_id: this.#session.nextCustomLoss(),
        name,
        inputs: traced.inputs,
        graph: traced.graph.wire,
        type: 'create_custom_loss',
      },
      method,
    })
    const pending = { requestId, type: 'CreateCustomLoss', method, signal: options.signal }
    const { loss_id: lossId } = await this.#session.result<Schemas['CreateCustomLossResult']>(pending)
    return { name, sessionId, ...traced, lossId }
  }

  /** Copies a checkpoint into this client's project, and gives the path of the copy. */
  async copyWeights(tinkerPath: string, options: CopyOptions = {}): Promise<string> {
    const { id } = await this.#session.open()
    const body = { session_id: id, model_seq_id: this.#session.nextModel() }
    return copyWeights(this.#session.connection, tinkerPath, body, 'ServiceClient.copy_weights', options)
  }

  /** The page of this session in the hosted service's console. Throws TinkerError for other servers, which have none. */
  getConsoleUrl(): string {
    return consoleUrl(this.#session.http.baseUrl, 'sessions', this.#session.id)
  }

  /** Ends the session; its adapters that were not saved are gone. */
  close(status: 'success' | 'errored' | 'interrupted' = 'success', detail?: string): Promise<void> {
    return this.#session.close(status, detail)
  }

  #sessionless(): Connection {
    this.#rest ??= new Connection(this.#options)
    return this.#rest
  }

  #resume(
    path: string,
    state: object,
    pythonName: string,
    options: ResumeOptions & CallOptions,
  ): Promise<TrainingClient> {
    return this.#create('loadWeights', 'LoadWeights', pythonName, options, {
      path,
      ...state,
      ...(options.baseModel === undefined ? {} : { base_model: options.baseModel }),
      ...(options.userMetadata === undefined ? {} : { user_metadata: { ...options.userMetadata } }),
      ...(options.weightsAccessToken === undefined ? {} : { weights_access_token: options.weightsAccessToken }),
      type: 'load_weights',
    })
  }

  #create(
    operation: 'createModel' | 'loadWeights',
    type: 'CreateModel' | 'LoadWeights',
    pythonName: string,
    options: CallOptions,
    content: object,
  ): Promise<TrainingClient> {
    const create = async () => {
      const session = await this.#session.open()
      const modelSeqId = this.#session.nextModel()
      const body = { session_id: session.id, model_seq_id: modelSeqId, ...content }
      const method = `ServiceClient.${pythonName}`
      const retry = operation === 'createModel' ? { retry: INNER_ONLY } : {}
      const call = { body: body as Schemas['CreateModelRequest'] & Schemas['LoadWeightsRequest'], method, ...retry }
      const { request_id: requestId } = await this.#session.http.json(operation, { ...call, signal: options.signal })
      const pending = { requestId, type, method, signal: options.signal }
      const result = await this.#session.result<{ readonly model_id?: string | null }>(pending)
      // A resumed run has the id that the protocol gives it, whether the server repeats it or not.
      const modelId = result.model_id ?? `${session.id}:train:${modelSeqId}`
      const info = await this.#session.http.json('getInfo', { body: { model_id: modelId, type: 'get_info' }, method })
      return new TrainingClient(this.#session, camelized(info))
    }
    return this.#session.watch(create())
  }
}
