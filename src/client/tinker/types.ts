// What callers give and get: prompts, training examples, tensors, parameters, results. Plain data in TypeScript's names;
// names of loss inputs, losses and metrics are the protocol's own words and stay as they are.

import { TinkerError } from './errors.ts'

/** A prompt or a training example's input: tokens in order. */
export class ModelInput {
  readonly tokens: Int32Array

  constructor(tokens: Int32Array) {
    this.tokens = tokens
  }

  /** Throws TinkerError for anything but whole numbers from 0 that fit 32 bits. */
  static fromInts(tokens: ArrayLike<number>): ModelInput {
    const copy = Int32Array.from(tokens)
    const bad = copy.findIndex((token, index) => token !== tokens[index] || token < 0)
    if (bad >= 0) throw new TinkerError(`Token ${bad} is ${tokens[bad]}; tokens are whole numbers from 0.`)
    return new ModelInput(copy)
  }

  static empty(): ModelInput {
    return new ModelInput(new Int32Array(0))
  }

  get length(): number {
    return this.tokens.length
  }

  toInts(): number[] {
    return Array.from(this.tokens)
  }

  append(tokens: ArrayLike<number>): ModelInput {
    return ModelInput.fromInts([...this.tokens, ...Array.from(tokens)])
  }
}

export type Numbers = readonly number[] | Float32Array | Int32Array

/** A dense tensor, row-major; `shape` absent: one dimension. */
export interface DenseTensor {
  readonly data: Numbers
  readonly dtype: 'float32' | 'int64'
  readonly shape?: readonly number[]
}

/** Compressed sparse rows of a matrix: `data` are the listed values, everything else is 0. `shape` is the dense one. */
export interface SparseTensor {
  readonly data: Numbers
  readonly dtype: 'float32' | 'int64'
  readonly shape: readonly [rows: number, columns: number]
  readonly crowIndices: readonly number[]
  readonly colIndices: readonly number[]
}

export type Tensor = DenseTensor | SparseTensor

/** One training example of N tokens. */
export interface Datum {
  readonly modelInput: ModelInput
  /**
   * By the protocol's names. `target_tokens` [N] or [N, K]; `weights` alike; `logprobs`, `advantages` [N]. Plain numbers
   * are taken as int64 for `target_tokens` and float32 for the others.
   */
  readonly lossFnInputs: Readonly<Record<string, Numbers | Tensor>>
}

export type LossName = 'cross_entropy' | 'importance_sampling' | 'ppo' | 'cispo' | 'dro'
export type LossConfig = Readonly<Record<string, number | string>>

export interface TensorOutput {
  /** Whole numbers come as float64, which holds them exactly up to 2^53. */
  readonly data: Float32Array | Float64Array
  readonly shape: readonly number[]
}

export interface ForwardBackwardOutput {
  readonly lossFnOutputType: string
  /** One a datum, in the order of the data: `logprobs` has the shape of the targets. */
  readonly lossFnOutputs: readonly Readonly<Record<string, TensorOutput>>[]
  /** Keys are `name:reduction`; `loss:sum` is the loss summed over all tokens of all data. */
  readonly metrics: Readonly<Record<string, number>>
}

/** Of one AdamW step. What is left out takes the protocol's default. */
export interface AdamParams {
  /** 1e-4 */
  readonly learningRate?: number
  /** 0.9 */
  readonly beta1?: number
  /** 0.95 */
  readonly beta2?: number
  /** 1e-12 */
  readonly eps?: number
  /** 0; decoupled from the gradient. */
  readonly weightDecay?: number
  /** 0 = off; else the global L2 norm that gradients are clipped to. */
  readonly gradClipNorm?: number
}

export interface OptimStepResult {
  readonly metrics: Readonly<Record<string, number>>
}

export interface SamplingParams {
  /** Up to the end of the context, if left out. */
  readonly maxTokens?: number
  /** Any 64-bit integer. */
  readonly seed?: number | bigint
  /** Left out: the model's end tokens stop generation. []: nothing does. The stop is part of the output. */
  readonly stop?: string | readonly string[] | readonly number[]
  /** 1; 0 = greedy. */
  readonly temperature?: number
  /** -1 = all. */
  readonly topK?: number
  /** 1 = all. */
  readonly topP?: number
}

export interface SampleRequest {
  readonly prompt: ModelInput
  /** 1 */
  readonly numSamples?: number
  readonly samplingParams?: SamplingParams
  readonly includePromptLogprobs?: boolean
  /** How many best tokens to report at every prompt position; 0 = none. */
  readonly topkPromptLogprobs?: number
  /** The same at every sampled position. */
  readonly topkSampleLogprobs?: number
  /** Score only the last n tokens of the prompt; needs `includePromptLogprobs`. */
  readonly promptLogprobsLastN?: number
  /** Ends the waiting; what was sent is still answered by the server. */
  readonly signal?: AbortSignal
}

/** Token and log-probability pairs, best first. */
export type TopLogprobs = readonly (readonly [token: number, logprob: number])[]

export interface SampledSequence {
  readonly tokens: readonly number[]
  /** Of the distribution that was drawn from, one a token. */
  readonly logprobs: readonly number[]
  readonly stopReason: 'stop' | 'length'
  /** Unique within the session; undefined with servers that name none. */
  readonly sequenceId: string | undefined
  readonly topkLogprobs?: readonly TopLogprobs[]
}

export interface SampleResponse {
  readonly sequences: readonly SampledSequence[]
  /** One a prompt token; null where nothing was scored, always at 0. */
  readonly promptLogprobs?: readonly (number | null)[]
  readonly topkPromptLogprobs?: readonly (TopLogprobs | null)[]
  readonly promptCacheHitTokens: number
}

export interface LoraOptions {
  readonly baseModel: string
  /** 32 */
  readonly rank?: number
  readonly seed?: number | bigint
  readonly trainMlp?: boolean
  readonly trainAttn?: boolean
  readonly trainUnembed?: boolean
  readonly userMetadata?: Readonly<Record<string, string>>
}

export interface ServedModel {
  readonly name: string
  readonly maxContextLength: number | undefined
  readonly isTrainable: boolean | undefined
  readonly isSampleable: boolean | undefined
}
