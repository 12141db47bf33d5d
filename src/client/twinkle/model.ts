// A model on a server and one LoRA adapter of it: set up by names of the catalogue, trained call by call. What is computed is
// the server's; here are the calls.

import type { components, paths } from '../../generated/twinkle.ts'
import { sleep, unlessAborted } from '../tinker/timing.ts'
import { resultOf, shaped } from './answers.ts'
import type { CallOptions, Connection } from './connection.ts'
import { StatusError, TwinkleError, UnexpectedAnswerError } from './errors.ts'
import { baseName, type Kwargs, snakeKeys } from './names.ts'

type Schemas = components['schemas']
export type Row = Schemas['Row']
export type ModelOutput = Schemas['ModelOutput']

/** Fields of peft's LoraConfig, as it calls them. */
export interface LoraConfig {
  readonly r?: number
  readonly lora_alpha?: number
  readonly target_modules?: string | readonly string[]
  readonly use_rslora?: boolean
  readonly [field: string]: unknown
}

export interface AdapterOptions {
  /** Batches of which an update is made; 1. */
  readonly gradientAccumulationSteps?: number
  /** Of its first weights, the same for the same seed on any twinkle-ts server; beyond 2^53 as text. Drawn where it is missing. */
  readonly seed?: number | string
  readonly [keyword: string]: unknown
}

export interface SaveOptions {
  readonly saveOptimizer?: boolean
  /** Weights to sample from: under a new path each time. */
  readonly isSampler?: boolean
  /** For the loader, when the checkpoint is resumed from. */
  readonly consumedTrainSamples?: number
}

export interface Saved {
  readonly twinklePath: string
  readonly checkpointDir: string | null
}

export interface Progress {
  readonly curStep: number
  readonly consumedTrainSamples: number
  readonly gradientAccumulationSteps: number
}

/** Operations of a model that are a POST of one body. */
type Operation =
  Extract<keyof paths, `/api/v1/model/{base}/twinkle/${string}`> extends infer P
    ? P extends `/api/v1/model/{base}/twinkle/${infer Name}`
      ? Name extends 'upload_status/{request_id}'
        ? never
        : Name
      : never
    : never

/** Doing these twice is doing them once; the others change numbers. */
const SAFE: readonly Operation[] = [
  'create',
  'set_template',
  'set_processor',
  'set_loss',
  'set_optimizer',
  'set_lr_scheduler',
  'forward_only',
  'get_train_configs',
  'get_state_dict',
  'load',
  'zero_grad',
]

const POLL_MS = 5000

export class MultiLoraTransformersModel {
  readonly modelId: string
  readonly #connection: Connection
  readonly #base: string
  #adapterName: string | null = null
  #created: Promise<unknown> | undefined

  constructor(modelId: string, connection: Connection) {
    this.modelId = modelId
    this.#base = baseName(modelId)
    this.#connection = connection
  }

  /** The full id: it is the training run's too. `config` null: the defaults. */
  async addAdapterToModel(
    adapterName: string,
    config: LoraConfig | null = null,
    kwargs: AdapterOptions = {},
    options: CallOptions = {},
  ): Promise<string> {
    this.#adapterName = adapterName
    const added = await this.#call<Schemas['AddedAdapter']>('add_adapter_to_model', { config, ...kwargs }, options)
    return shaped('add_adapter_to_model', added, { adapter_name: 'string' }).adapter_name
  }

  setTemplate(templateCls: string, kwargs: Kwargs = {}, options: CallOptions = {}): Promise<void> {
    return this.#void('set_template', { templateCls, modelId: this.#base, ...kwargs }, options)
  }

  setProcessor(processorCls: string, kwargs: Kwargs = {}, options: CallOptions = {}): Promise<void> {
    return this.#void('set_processor', { processorCls, ...kwargs }, options)
  }

  setLoss(lossCls: string, kwargs: Kwargs = {}, options: CallOptions = {}): Promise<void> {
    return this.#void('set_loss', { lossCls, ...kwargs }, options)
  }

  setOptimizer(optimizerCls: string, kwargs: Kwargs = {}, options: CallOptions = {}): Promise<void> {
    return this.#void('set_optimizer', { optimizerCls, ...kwargs }, options)
  }

  setLrScheduler(schedulerCls: string, kwargs: Kwargs = {}, options: CallOptions = {}): Promise<void> {
    return this.#void('set_lr_scheduler', { schedulerCls, ...kwargs }, options)
  }

  /** `isTraining` null: of training and of forwardOnly. */
  addMetric(
    metricCls: string,
    isTraining: boolean | null = null,
    kwargs: Kwargs = {},
    options: CallOptions = {},
  ): Promise<void> {
    return this.#void('add_metric', { metricCls, isTraining, ...kwargs }, options)
  }

  applyPatch(patchCls: string, kwargs: Kwargs = {}, options: CallOptions = {}): Promise<void> {
    return this.#void('apply_patch', { patchCls, ...kwargs }, options)
  }

  /** Keeps the batch for calculateLoss and backward. */
  forward(inputs: Row | readonly Row[], kwargs: Kwargs = {}, options: CallOptions = {}): Promise<ModelOutput> {
    return this.#result('forward', { inputs, ...kwargs }, options)
  }

  /** Keeps nothing. With `disableLora`, or before there is an adapter, the base model answers. */
  forwardOnly(inputs: Row | readonly Row[], kwargs: Kwargs = {}, options: CallOptions = {}): Promise<ModelOutput> {
    return this.#result('forward_only', { inputs, ...kwargs }, options)
  }

  async calculateLoss(kwargs: Kwargs = {}, options: CallOptions = {}): Promise<number> {
    return checked('calculate_loss', 'number', await this.#result<number>('calculate_loss', kwargs, options))
  }

  backward(kwargs: Kwargs = {}, options: CallOptions = {}): Promise<void> {
    return this.#void('backward', kwargs, options)
  }

  /** forward, calculateLoss and backward. Of reinforcement: `advantages`, `oldLogps`, `refLogps` or `refOutputs`. */
  forwardBackward(inputs: Row | readonly Row[], kwargs: Kwargs = {}, options: CallOptions = {}): Promise<ModelOutput> {
    return this.#result('forward_backward', { inputs, ...kwargs }, options)
  }

  /** The norm before clipping, as text; `None` before an update is due. */
  async clipGradNorm(maxGradNorm = 1, normType = 2, kwargs: Kwargs = {}, options: CallOptions = {}): Promise<string> {
    const norm = await this.#result<string>('clip_grad_norm', { maxGradNorm, normType, ...kwargs }, options)
    return checked('clip_grad_norm', 'string', norm)
  }

  step(kwargs: Kwargs = {}, options: CallOptions = {}): Promise<void> {
    return this.#void('step', kwargs, options)
  }

  zeroGrad(kwargs: Kwargs = {}, options: CallOptions = {}): Promise<void> {
    return this.#void('zero_grad', kwargs, options)
  }

  lrStep(kwargs: Kwargs = {}, options: CallOptions = {}): Promise<void> {
    return this.#void('lr_step', kwargs, options)
  }

  /** clipGradNorm, step, zeroGrad and lrStep. */
  clipGradAndStep(maxGradNorm = 1, normType = 2, kwargs: Kwargs = {}, options: CallOptions = {}): Promise<void> {
    return this.#void('clip_grad_and_step', { maxGradNorm, normType, ...kwargs }, options)
  }

  /** Numbers, most of them as text. */
  async calculateMetric(isTraining = true, kwargs: Kwargs = {}, options: CallOptions = {}) {
    const result = await this.#result<Record<string, unknown>>('calculate_metric', { isTraining, ...kwargs }, options)
    return checked('calculate_metric', 'object', result)
  }

  /** For people to read. */
  async getTrainConfigs(kwargs: Kwargs = {}, options: CallOptions = {}): Promise<string> {
    return checked('get_train_configs', 'string', await this.#result<string>('get_train_configs', kwargs, options))
  }

  /** Nested lists of numbers, by name. */
  async getStateDict(kwargs: Kwargs = {}, options: CallOptions = {}): Promise<Record<string, unknown>> {
    const result = await this.#result<Record<string, unknown>>('get_state_dict', kwargs, options)
    return checked('get_state_dict', 'object', result)
  }

  async save(name: string | null = null, kwargs: SaveOptions & Kwargs = {}, options: CallOptions = {}): Promise<Saved> {
    const answer = await this.#call<Schemas['Saved']>('save', { name, ...kwargs }, options)
    const saved = shaped('save', answer, { twinkle_path: 'string' })
    return { twinklePath: saved.twinkle_path, checkpointDir: saved.checkpoint_dir }
  }

  /** Weights, and with `loadOptimizer` what the optimiser knew. */
  load(name: string, kwargs: { readonly loadOptimizer?: boolean } & Kwargs = {}, options: CallOptions = {}) {
    return this.#void('load', { name, ...kwargs }, options)
  }

  /** Everything that a checkpoint has; how far the run was. */
  async resumeFromCheckpoint(
    name: string,
    kwargs: { readonly resumeOnlyModel?: boolean } & Kwargs = {},
    options: CallOptions = {},
  ): Promise<Progress> {
    const result = await this.#result<Schemas['ResumedResult']['result']>(
      'resume_from_checkpoint',
      { name, ...kwargs },
      options,
    )
    return {
      curStep: result.cur_step,
      consumedTrainSamples: result.consumed_train_samples,
      gradientAccumulationSteps: result.gradient_accumulation_steps,
    }
  }

  /** Returns when it is there. Throws TwinkleError when it failed. */
  async uploadToHub(
    checkpointDir: string | Saved,
    hubModelId: string,
    kwargs: { readonly hubToken?: string; readonly pollMs?: number } = {},
    options: CallOptions & { readonly onProgress?: (status: string) => void } = {},
  ): Promise<void> {
    const checkpoint = typeof checkpointDir === 'string' ? checkpointDir : checkpointDir.twinklePath
    const body = { checkpointDir: checkpoint, hubModelId, hubToken: kwargs.hubToken ?? null }
    const { request_id: id } = await this.#call<Schemas['UploadStarted']>('upload_to_hub', body, options)
    for (;;) {
      const { status, error } = await this.#uploadStatus(id, options)
      options.onProgress?.(status)
      if (status === 'completed') return
      if (status === 'failed')
        throw new TwinkleError(`The upload to ${hubModelId} failed: ${error ?? 'no reason given'}.`)
      await sleep(kwargs.pollMs ?? POLL_MS, options.signal)
    }
  }

  #uploadStatus(id: string, options: CallOptions): Promise<Schemas['UploadStatus']> {
    const params = { path: { base: this.#base, request_id: id } }
    return this.#connection.send(
      (api, signal) =>
        api.GET('/api/v1/model/{base}/twinkle/upload_status/{request_id}', {
          params,
          ...(signal ? { signal } : {}),
        }),
      { ...options, isSafe: true },
    )
  }

  async #void(operation: Operation, kwargs: Kwargs, options: CallOptions): Promise<void> {
    await this.#call(operation, kwargs, options)
  }

  async #result<T>(operation: Operation, kwargs: Kwargs, options: CallOptions): Promise<T> {
    return resultOf(operation, await this.#call(operation, kwargs, options))
  }

  async #call<T>(operation: Operation, kwargs: Kwargs, options: CallOptions): Promise<T> {
    if (operation !== 'create') await this.#create(options)
    const body = { ...snakeKeys(kwargs), adapter_name: this.#adapterName }
    const params = { path: { base: this.#base } }
    const path = `/api/v1/model/{base}/twinkle/${operation}` as '/api/v1/model/{base}/twinkle/create'
    const answer: unknown = await this.#connection.send(
      (api, signal) => api.POST(path, { params, body, ...(signal ? { signal } : {}) }),
      { ...options, isSafe: SAFE.includes(operation) },
    )
    return answer as T
  }

  /** Asks once whether the model is served. */
  #create(options: CallOptions): Promise<unknown> {
    // For all who wait for it, so no single caller's signal ends it.
    const { onRetry } = options
    this.#created ??= this.#call('create', {}, onRetry ? { onRetry } : {}).catch((error: unknown) => {
      this.#created = undefined
      throw error instanceof StatusError && error.status === 404
        ? new TwinkleError(`${this.#base} is not served there: ${error.message}`, { cause: error })
        : error
    })
    return unlessAborted(this.#created, options.signal)
  }
}

function checked<T>(operation: string, type: 'number' | 'string' | 'object', value: T): T {
  if (typeof value === type && value !== null) return value
  throw new UnexpectedAnswerError(`${operation} was answered with ${JSON.stringify(value)}, where a ${type} belongs.`)
}
