// What callers give and get: training examples, parameters, results. Plain data in TypeScript's names;
// names of loss inputs, losses and metrics are the protocol's own words and stay as they are.

import type { Schemas } from '../../generated/operations.ts'
import type { Camelized } from './camel.ts'
import type { ModelInput } from './model-input.ts'
import type { Numbers, Tensor, TensorOutput } from './tensors.ts'

/** One training example of N tokens. */
export interface Datum {
  readonly modelInput: ModelInput
  /**
   * By the protocol's names. `target_tokens` [N] or [N, K]; `weights` alike; `logprobs`, `advantages` [N]. Plain numbers
   * are taken as int64 for `target_tokens` and float32 for the others.
   */
  readonly lossFnInputs: Readonly<Record<string, Numbers | Tensor>>
  /** Where the tokens of `modelInput` came from: runs that tile it. Attach with `withProvenance`. */
  readonly modelInputSpans?: readonly ProvenanceSpan[]
  /** The same of the positions of `target_tokens`. */
  readonly lossFnInputSpans?: readonly ProvenanceSpan[]
}

/** A run of tokens: of the prompt of a request, or of what one of its sequences sampled. */
export interface ProvenanceSpan {
  readonly kind: 'prompt' | 'sampled'
  /** `SampledSequence.sequenceId` */
  readonly sequenceId: string
  /** Where the run begins in that prompt, or in those sampled tokens; 0. */
  readonly offset?: number
  /** In tokens. */
  readonly length: number
}

/** Losses of the protocol; a server may have others, and says which ones when it is asked for one that it has not. */
export type LossName =
  | 'cross_entropy'
  | 'importance_sampling'
  | 'ppo'
  | 'cispo'
  | 'dro'
  | 'gspo'
  | 'stable_reinforce'
  | (string & {})
export type LossConfig = Readonly<Record<string, number | string>>

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

/** Of another optimiser: its name, and its parameters in this client's spelling. Dimuon has the ones of the first line. */
export type OtherOptimParams =
  | { readonly type: 'dimuon'; readonly learningRate: number; readonly gradClipNorm?: number; readonly beta1?: number }
  | { readonly type: string; readonly [parameter: string]: unknown }

export type OptimParams = AdamParams | OtherOptimParams

/** The optimiser of an adapter, fixed when it is made. Default: { type: 'adamw' }. */
export interface OptimizerConfig {
  readonly type: string
  readonly [parameter: string]: unknown
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
  /**
   * Token ids [N - 1, K], int64, dense or sparse, whose log-probabilities to report: row i stands for prompt position i + 1;
   * -1 asks nothing.
   */
  readonly targetPromptLogprobs?: Tensor
  /** How many alternatives to draw at every prompt position after the first, at this request's temperature. */
  readonly promptAltTokensK?: number
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
  /** In the shape and layout of the request's tensor. */
  readonly targetPromptLogprobs?: TensorOutput
  /** Both [N - 1, k]; row i stands for prompt position i + 1. */
  readonly promptAltTokens?: { readonly tokens: TensorOutput; readonly logprobs: TensorOutput }
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
  readonly optimizer?: OptimizerConfig
}

/** What the server knows of an adapter; asked for once, when its client is made. */
export type TrainingInfo = Camelized<Schemas['GetInfoResponse']>

/** Records of RestClient. */
export type TrainingRun = Camelized<Schemas['TrainingRun']>
export type Checkpoint = Camelized<Schemas['Checkpoint']>
