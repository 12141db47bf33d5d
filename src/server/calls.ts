// What the wire means, whatever it looked like: both encodings of every SDK end in these calls before anything is checked.
// Defaults are filled in, null and absent are the same, tensors are typed arrays. No HTTP here and no database.

import type { TopK, TrainingDatum } from '../backends/backend.ts'

/** forward and forward_backward. */
export interface TrainingCall {
  readonly modelId: string
  /** From 1; 0 = none given: the order of arrival counts. */
  readonly seqId: number
  readonly forwardOnly: boolean
  /** Whose catalogue the loss is of; absent: the Tinker wire's. Twinkle's comes resolved, its configuration complete. */
  readonly family?: 'twinkle'
  readonly lossName: string
  readonly lossConfig: Readonly<Record<string, number | string>>
  readonly datums: readonly TrainingDatum[]
  /** Per datum: targets came as (N, K), also with K = 1, so that log-probabilities go back as (N, K). */
  readonly matrix: readonly boolean[]
}

export interface TrainingReply {
  /** Per datum [N, width] as the targets were; `matrix` says whether the client sent (N, K) targets and so gets (N, K) back. */
  readonly logprobs: readonly { readonly values: Float32Array; readonly width: number; readonly matrix: boolean }[]
  /** Per datum, for losses of Twinkle's catalogue: [N], or [hidden]. The Tinker wire has no words for them. */
  readonly entropies?: readonly Float32Array[]
  readonly embeddings?: readonly Float32Array[]
  /** Keys are `name:reduction`, one colon. */
  readonly metrics: Readonly<Record<string, number>>
}

/** asample. */
export interface SampleCall {
  readonly samplingSessionId?: string
  readonly baseModel?: string
  readonly modelPath?: string
  /** Decimal, up to 10^18. */
  readonly seqId?: string
  readonly prompt: Int32Array
  readonly samples: number
  /** Absent: up to the context's end. */
  readonly maxTokens?: number
  /** Any 64-bit integer in decimal; absent: the server draws one and journals it. */
  readonly seed?: string
  /** Absent: the model's end tokens stop generation. Empty lists: nothing does. */
  readonly stop?: { readonly strings: readonly string[]; readonly tokens: readonly number[] }
  readonly temperature: number
  /** 0 = all. */
  readonly topK: number
  readonly topP: number
  readonly promptLogprobs: boolean
  /** Score only the last n prompt tokens. */
  readonly promptLogprobsLastN?: number
  readonly topkPromptLogprobs: number
  readonly topkSampleLogprobs: number
  /** Other tokens to score in the prompt's places. */
  readonly targetPromptLogprobs?: TargetTensor
  /** How many tokens to draw for each position of the prompt after the first; absent: none. */
  readonly promptAltTokens?: number
  /** Whoever asked waits on an open connection and has no id to come back with: a server that starts anew drops it. */
  readonly isHeld?: true
}

/**
 * Token ids by prompt position, as the client laid them out, which is how the answer is laid out: [N - 1, columns], row i for
 * position i + 1; -1 asks nothing. Plain arrays, since calls are kept as JSON.
 */
export interface TargetTensor {
  readonly shape: readonly [rows: number, columns: number]
  /** Dense: row-major, all cells. Sparse: the listed cells. */
  readonly ids: readonly number[]
  readonly sparse?: { readonly starts: readonly number[]; readonly columns: readonly number[] }
}

export interface SampleReply {
  readonly sequences: readonly {
    readonly tokens: Int32Array
    readonly logprobs: Float32Array
    readonly topk?: TopK
    readonly stopReason: 'stop' | 'length'
  }[]
  /** [N]; NaN where nothing was scored (always at 0). */
  readonly promptLogprobs?: Float32Array
  readonly promptTopk?: TopK
  /** Laid out as the call's tensor; 0 where it has -1. */
  readonly promptTargets?: Omit<TargetTensor, 'ids'> & { readonly logprobs: Float32Array }
  /** [N - 1, k], row i for position i + 1; logprobs are the model's own. */
  readonly promptAltTokens?: { readonly k: number; readonly ids: Int32Array; readonly logprobs: Float32Array }
  readonly promptCacheHitTokens: number
}

/** What a finished future holds: JSON for most kinds; two kinds have a protobuf form too. */
export type Reply =
  | { readonly type: 'json'; readonly value: Readonly<Record<string, unknown>> }
  | { readonly type: 'training'; readonly value: TrainingReply }
  | { readonly type: 'sample'; readonly value: SampleReply }
