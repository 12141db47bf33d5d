// The entrance: names a server, and makes the clients that train and sample there. Nothing is sent before it is needed.

import type { Schemas, SuccessBody } from '../../generated/operations.ts'
import { TinkerError } from './errors.ts'
import { type Fetch, Http } from './http.ts'
import { INNER_ONLY } from './retry.ts'
import { SamplingClient } from './sampling-client.ts'
import { integer } from './sampling-wire.ts'
import { Session, type SessionOptions } from './session.ts'
import { TrainingClient } from './training-client.ts'
import type { LoraOptions, ServedModel } from './types.ts'

export interface ServiceOptions extends SessionOptions {
  /** Default: TINKER_BASE_URL, then where `twinkle serve` listens: http://127.0.0.1:8000. */
  readonly baseUrl?: string
  /** Default: TINKER_API_KEY. A local server without keys takes any. */
  readonly apiKey?: string
  /** Sent with every request. */
  readonly headers?: Readonly<Record<string, string>>
  /** Default: the global one. */
  readonly fetch?: Fetch
}

export interface ResumeOptions {
  readonly baseModel?: string
  readonly userMetadata?: Readonly<Record<string, string>>
  /** A key of the tenant that owns the checkpoint, where that is another one. */
  readonly weightsAccessToken?: string
}

export type SamplerSource = { readonly baseModel: string } | { readonly modelPath: string }

/**
 * ```ts
 * const service = new ServiceClient({ baseUrl: 'http://127.0.0.1:8000', apiKey: 'tml-local' })
 * const training = await service.createLoraTrainingClient({ baseModel: 'twinkle/tiny', rank: 8 })
 * ```
 */
export class ServiceClient {
  readonly #session: Session
  readonly #http: Http

  /** Throws TinkerError without a key, or for a URL that is none. */
  constructor(options: ServiceOptions = {}) {
    const apiKey = options.apiKey ?? variable('TINKER_API_KEY')
    if (!apiKey) {
      throw new TinkerError(
        'No API key: pass apiKey, or set TINKER_API_KEY. A local server takes any, such as tml-local.',
      )
    }
    this.#http = new Http({
      baseUrl: options.baseUrl ?? variable('TINKER_BASE_URL') ?? 'http://127.0.0.1:8000',
      apiKey,
      ...(options.headers ? { headers: options.headers } : {}),
      ...(options.fetch ? { fetch: options.fetch } : {}),
    })
    this.#session = new Session(this.#http, options)
  }

  async getServerCapabilities(): Promise<{ readonly supportedModels: readonly ServedModel[] }> {
    const answer = await this.#http.json('getServerCapabilities', { method: 'ServiceClient.get_server_capabilities' })
    return {
      supportedModels: answer.supported_models.map((model) => ({
        name: model.model_name ?? '',
        maxContextLength: model.max_context_length ?? undefined,
        isTrainable: model.trainable ?? undefined,
        isSampleable: model.sampleable ?? undefined,
      })),
    }
  }

  /** A new LoRA adapter of a base model. */
  async createLoraTrainingClient(options: LoraOptions): Promise<TrainingClient> {
    const method = 'ServiceClient.create_lora_training_client'
    const session = await this.#session.open()
    const answer = await this.#http.json('createModel', {
      body: {
        session_id: session.id,
        model_seq_id: this.#session.nextModel(),
        base_model: options.baseModel,
        lora_config: {
          rank: options.rank ?? 32,
          ...(options.seed === undefined ? {} : { seed: integer(options.seed) }),
          train_unembed: options.trainUnembed ?? true,
          train_mlp: options.trainMlp ?? true,
          train_attn: options.trainAttn ?? true,
        },
        optimizer_config: { type: 'adamw' },
        ...(options.userMetadata ? { user_metadata: { ...options.userMetadata } } : {}),
        type: 'create_model',
      },
      method,
      retry: INNER_ONLY,
    })
    const { model_id: id } = await this.#session.result<Schemas['CreateModelResult']>(
      answer.request_id,
      'CreateModel',
      method,
    )
    return this.#trainingClient(id, method)
  }

  /** Goes on from a checkpoint's weights, with a new optimiser. */
  createTrainingClientFromState(path: string, options: ResumeOptions = {}): Promise<TrainingClient> {
    return this.#resume(path, false, 'ServiceClient.create_training_client_from_state', options)
  }

  /** Goes on exactly where a checkpoint was written, optimiser included. */
  createTrainingClientFromStateWithOptimizer(path: string, options: ResumeOptions = {}): Promise<TrainingClient> {
    return this.#resume(path, true, 'ServiceClient.create_training_client_from_state_with_optimizer', options)
  }

  /** Samples a base model, or a checkpoint by its `tinker://` path. */
  async createSamplingClient(source: SamplerSource): Promise<SamplingClient> {
    const method = 'ServiceClient.create_sampling_client'
    const session = await this.#session.open()
    const { sampling_session_id: samplingSessionId } = await this.#http.json('createSamplingSession', {
      body: {
        session_id: session.id,
        sampling_session_seq_id: this.#session.nextSampler(),
        ...('baseModel' in source ? { base_model: source.baseModel } : { model_path: source.modelPath }),
        type: 'create_sampling_session',
      },
      method,
      retry: INNER_ONLY,
    })
    const baseModel = 'baseModel' in source ? source.baseModel : await this.#baseModelOf(samplingSessionId, method)
    return new SamplingClient(this.#session, { samplingSessionId, baseModel, tokenizerId: baseModel })
  }

  /** Ends the session; its adapters that were not saved are gone. */
  close(status: 'success' | 'errored' | 'interrupted' = 'success', detail?: string): Promise<void> {
    return this.#session.close(status, detail)
  }

  async #baseModelOf(sampler: string, method: string): Promise<string> {
    return (await this.#http.json('getSampler', { path: { sampler_id: sampler }, method })).base_model
  }

  async #resume(path: string, optimizer: boolean, method: string, options: ResumeOptions): Promise<TrainingClient> {
    const session = await this.#session.open()
    const answer = await this.#http.json('loadWeights', {
      body: {
        session_id: session.id,
        model_seq_id: this.#session.nextModel(),
        path,
        optimizer,
        ...(options.baseModel === undefined ? {} : { base_model: options.baseModel }),
        ...(options.userMetadata === undefined ? {} : { user_metadata: { ...options.userMetadata } }),
        ...(options.weightsAccessToken === undefined ? {} : { weights_access_token: options.weightsAccessToken }),
        type: 'load_weights',
      },
      method,
    })
    const result = await this.#session.result<Schemas['LoadWeightsResult']>(answer.request_id, 'LoadWeights', method)
    if (!result.model_id) throw new TinkerError('The server loaded the checkpoint without naming the new model.')
    return this.#trainingClient(result.model_id, method)
  }

  async #trainingClient(modelId: string, method: string): Promise<TrainingClient> {
    const info: SuccessBody<'getInfo'> = await this.#http.json('getInfo', {
      body: { model_id: modelId, type: 'get_info' },
      method,
    })
    const baseModel = info.model_data.model_name ?? info.model_name
    if (!baseModel) throw new TinkerError(`The server does not say which base model ${modelId} has.`)
    const tokenizerId = info.model_data.tokenizer_id ?? baseModel
    return new TrainingClient(this.#session, { modelId, baseModel, tokenizerId, loraRank: info.lora_rank ?? undefined })
  }
}

/** An environment variable where there is an environment. */
function variable(name: string): string | undefined {
  const { process } = globalThis as { process?: { env?: Record<string, string | undefined> } }
  return process?.env?.[name] || undefined
}
