// The interface between the server and a compute engine. It is about tensors, adapters and tokens: it knows nothing of
// HTTP, tenants, futures or checkpoint paths. A backend turns a base model into an engine; an engine may live in this
// process, in a child process or on other machines (see remote-engine.ts and frames.ts).
// `backend.conformance.ts` is the executable half of this contract.

import type { CatalogueLossName } from '../catalogue/losses/catalogue.ts'
import type { OptimizerRule, OptimizerSpec } from '../catalogue/optimizers/spec.ts'
import type { Share } from './fair-queue.ts'

export type { AdamSpec, OptimizerRule, OptimizerSpec, SgdSpec } from '../catalogue/optimizers/spec.ts'

/** Names of one trainable LoRA adapter, of frozen adapter weights, and of one journalled operation. Chosen by the caller. */
export type AdapterId = string
export type SnapshotId = string
export type OperationId = string

/** A Hugging Face folder or a `.gguf` file on this machine. `name` is what clients call the model. */
export interface ModelSource {
  readonly name: string
  readonly path: string
}

export interface LoraConfig {
  readonly rank: number
  /** Scale of the low-rank term is alpha / rank. 32 on the Tinker wire. */
  readonly alpha: number
  /** Any 64-bit integer in decimal. The same seed gives the same start for one `initVersion`. */
  readonly seed: string
  readonly trainAttention: boolean
  readonly trainMlp: boolean
  readonly trainUnembed: boolean
}

/** As the Tinker wire spells them. */
export type TinkerLossName = 'cross_entropy' | 'importance_sampling' | 'ppo' | 'cispo' | 'dro' | 'gspo'

/** Either family: class names are those of Twinkle's catalogue (src/catalogue/losses). */
export type LossName = TinkerLossName | CatalogueLossName

/**
 * What an engine must do for a loss. `token`: one pass, each target's gradient follows from its own log-probability.
 * `sequence`: two passes, as sums over a sequence come before any gradient (see `JointLoss` in losses.ts). `pair`: the same
 * over an operation's datums two by two. `entropy`, beside one of the others: the entropy of each position's distribution and
 * its gradient. `embedding`: the last hidden state, after its norm, of one position a datum, and its gradient.
 */
export type LossKind = 'token' | 'sequence' | 'pair' | 'entropy' | 'embedding'

/**
 * A loss whose configuration is complete: defaults are filled in by `resolveLoss` (losses.ts) or `resolveCatalogueLoss`,
 * never by an engine.
 */
export interface LossSpec {
  readonly name: LossName
  readonly config: Readonly<Record<string, number | string>>
}

/**
 * One training example of N tokens. `targets`, `weights` and `teacher_topk_logprobs` are [N, width], row-major; the others are
 * [N]. The last four are read by losses of Twinkle's catalogue alone.
 */
export interface TrainingDatum {
  readonly tokens: Int32Array
  readonly targets: Int32Array
  /** K: how many targets a position has. 1 for all losses but cross_entropy and GKDLoss. */
  readonly width: number
  readonly weights?: Float32Array
  /** Log-probabilities under the policy that sampled the tokens. */
  readonly logprobs?: Float32Array
  readonly advantages?: Float32Array
  /** Not 0 at the positions that the ratio of the whole sequence is taken over; named as on the wire, as errors name it. */
  readonly sequence_ratio_mask?: Float32Array
  /** 1 at the positions whose target counts, 0 at the others. */
  readonly mask?: Float32Array
  /** Log-probabilities of the targets under the frozen reference model. */
  readonly ref_logps?: Float32Array
  readonly teacher_topk_logprobs?: Float32Array
}

/** One forward or forward_backward operation. It is a transaction: it adds its whole gradient, or nothing. */
export interface TrainingItem {
  readonly operation: OperationId
  readonly adapter: AdapterId
  readonly backward: boolean
  readonly loss: LossSpec
  readonly datums: readonly TrainingDatum[]
  /** The plan of an earlier run of this operation: computing by it gives the same bits, whoever shared the batch then. */
  readonly plan?: TrainingPlan
  /**
   * On whose behalf. Parties get tokens in the ratio of their weights, adapters of one party equal parts, and nobody waits
   * for more than one micro-batch of each other. Absent: the adapter is a party of its own, of weight 1.
   */
  readonly share?: Share
}

/**
 * Where an operation's tokens lay in the batches that computed it. Opaque to the caller, plain JSON, small. Reductions over
 * tokens round differently at another place in the batch, so exact replay repeats the shapes of the batch.
 */
export type TrainingPlan = { readonly version: number; readonly runtime: string; readonly batches: readonly unknown[] }

export interface TrainingResult {
  /** Per datum, [N, width]: log p(target | tokens up to here) at every position, weighted or not. [0] beside embeddings. */
  readonly logprobs: readonly Float32Array[]
  /** The loss of all tokens and datums, computed in float64: their sum, or what a loss of the catalogue makes of them. */
  readonly loss: number
  /** How many of the targets that their mask lets count were the likeliest token; where each position has one target. */
  readonly likeliest?: number
  /** Per datum [N]: the entropy in nats of what the model expects at each position. For losses that reward it. */
  readonly entropies?: readonly Float32Array[]
  /** Per datum [hidden], of length 1. For losses of embeddings. */
  readonly embeddings?: readonly Float32Array[]
  readonly plan: TrainingPlan
}

/** One step of an optimiser. The state of one rule cannot be gone on with by another: such a step is refused. */
export type OptimStep = OptimSettings & { readonly operation: OperationId; readonly adapter: AdapterId }

export type OptimSettings = OptimizerSpec & {
  /** A new optimiser: the state of the steps before is dropped, and their count. Without a gradient nothing is dropped. */
  readonly fresh?: boolean
}

export interface OptimResult {
  /** False when there was no gradient: then nothing was changed. */
  readonly applied: boolean
  /** L2 norm of the whole gradient before clipping; 0 when there was none. */
  readonly gradientNorm: number
  /** Optimiser steps this adapter has taken. */
  readonly step: number
}

/** Divides the gradient gathered so far, then clips it: what comes after adds to what is left. */
export interface GradientClip extends ClipSettings {
  readonly operation: OperationId
  readonly adapter: AdapterId
}

export interface ClipSettings {
  /** A number above 0, as that of the tokens or micro-batches that the gradient is a sum over. 1 leaves it as it is. */
  readonly divisor: number
  /** Global norm that the divided gradient may have: it is multiplied by min(1, maxNorm / (norm + 1e-6)). Null = any. */
  readonly maxNorm: number | null
  /** 2 = L2; others are refused. */
  readonly normType: number
}

export interface ClipResult {
  /** False when there was no gradient: then nothing was changed. */
  readonly applied: boolean
  /** L2 norm of the whole gradient, divided but not clipped; 0 when there was none. */
  readonly gradientNorm: number
}

/** What became of one operation: the failure of one is never the failure of its neighbours. */
export type Outcome<T> =
  | { readonly operation: OperationId; readonly result: T }
  | { readonly operation: OperationId; readonly error: EngineFailure }

export interface EngineFailure {
  /** `user`: the request cannot be done as it stands. `server`: not the caller's fault. */
  readonly category: 'user' | 'server'
  readonly code: string
  readonly message: string
}

/** Thrown by an engine's methods. Codes of engines: see `engine-errors.ts`. */
export class EngineError extends Error implements EngineFailure {
  readonly category: 'user' | 'server'
  readonly code: string
  constructor(failure: EngineFailure) {
    super(failure.message)
    this.name = 'EngineError'
    this.category = failure.category
    this.code = failure.code
  }
}

export interface GenerationRequest {
  readonly operation: OperationId
  /** Null samples the base model. */
  readonly snapshot: SnapshotId | null
  readonly prompt: Int32Array
  /**
   * Whose prompt it is: what was computed of its beginning may serve later requests of the same scope and weights, and no
   * others, so that nobody can tell from times or counts what others have sent. Absent: it serves none.
   */
  readonly prefixScope?: string
  /** How many sequences to draw; 0 only scores the prompt. */
  readonly samples: number
  /** Tokens to draw at most, per sequence. The prompt and these must fit the context. */
  readonly maxTokens: number
  /** 0 = greedy, ties to the lower id; its logprobs are those of temperature 1. */
  readonly temperature: number
  /** 0 = all tokens. */
  readonly topK: number
  /** 1 = all tokens. */
  readonly topP: number
  /** Unsigned 64-bit integer in decimal; sequence i draws from its own stream of it. */
  readonly seed: string
  /** Generation ends after one of these tokens; it is part of the output. */
  readonly stopTokens: readonly number[]
  /** Generation ends with the token that completes one of these strings; it is part of the output. */
  readonly stopStrings: readonly string[]
  readonly promptLogprobs: boolean
  /** 0 = none: how many best tokens to report for every prompt position after the first. */
  readonly topkPromptLogprobs: number
  /** First prompt position that the two fields above speak of; 1 when left out. */
  readonly scorePromptFrom?: number
  /** Other tokens to score in the prompt's places, at temperature 1. */
  readonly promptTargets?: PromptTargets
  /** How many tokens to draw for every prompt position after the first, at `temperature`, from the whole vocabulary. */
  readonly promptDraws?: number
  /** 0 = none: how many best tokens to report for every sampled position. */
  readonly topkSampleLogprobs: number
  /** Also tell of tokens as they are drawn, in `tokens` events; `sample` events come as without it, with the same bits. */
  readonly stream?: boolean
}

/** Token ids by prompt position: those of position i + 1 are ids[starts[i]] to ids[starts[i + 1] - 1]; `starts` is [N]. */
export interface PromptTargets {
  readonly starts: Int32Array
  readonly ids: Int32Array
}

/** [length, k] pairs, best first, row-major. Logprobs are at temperature 1. */
export interface TopK {
  readonly k: number
  readonly ids: Int32Array
  readonly logprobs: Float32Array
}

export type GenerationEvent =
  /** Comes first, if anything of the prompt had been computed before: so many of its tokens. */
  | { readonly type: 'prefix'; readonly cachedTokens: number }
  | {
      readonly type: 'prompt'
      /** [N]; NaN where nothing is scored, as at 0: nothing comes before it. Never tempered. */
      readonly logprobs?: Float32Array
      /** [N, k]; rows that are not scored, as row 0, are ids 0 and logprobs NaN. */
      readonly topk?: TopK
      /** One for each of `promptTargets.ids`. */
      readonly targets?: Float32Array
      /** [N - 1, promptDraws], row i for position i + 1; logprobs are at temperature 1. */
      readonly draws?: { readonly ids: Int32Array; readonly logprobs: Float32Array }
    }
  /** Only where the request streams: what a sequence has got since the last event of it, from its token `start` on. */
  | {
      readonly type: 'tokens'
      readonly index: number
      readonly start: number
      readonly tokens: Int32Array
      readonly logprobs: Float32Array
      readonly topk?: TopK
    }
  /** A sequence that is over, as a whole. */
  | {
      readonly type: 'sample'
      readonly index: number
      readonly tokens: Int32Array
      /** log p of each token under softmax(logits / temperature), before top_k and top_p. */
      readonly logprobs: Float32Array
      readonly topk?: TopK
      readonly stopReason: 'stop' | 'length'
    }

export interface AdapterFile {
  readonly name: string
  readonly bytes: number
  readonly sha256: string
}

export type AdapterPart = 'weights' | 'weights+optimizer'

export interface EngineInfo {
  readonly backend: string
  readonly model: string
  /** `llama`, `qwen2`, `qwen3`, ... */
  readonly architecture: string
  readonly vocabulary: number
  readonly maxContext: number
  readonly endTokens: readonly number[]
  /** Those of the Tinker wire; losses of the catalogue go by their kinds. */
  readonly losses: readonly TinkerLossName[]
  /** Kinds of losses that it can compute; each of `losses` is of one of them. */
  readonly lossKinds: readonly LossKind[]
  readonly optimizers: readonly OptimizerRule[]
  readonly maxRank: number
  readonly maxTopK: number
  /** Identifies whatever decides the bits of a result: runtime version, threads, initialiser version. */
  readonly runtime: string
}

/** What an engine holds and has spent, for metrics and `twinkle doctor`. Bytes and counts. */
export interface EngineStatus {
  readonly rssBytes: number
  readonly adapters: number
  readonly snapshots: number
  readonly sampling: number
  /** Held for the beginnings of prompts to come. */
  readonly prefixBytes: number
  readonly trainedTokens: number
  readonly sampledTokens: number
}

export interface Engine {
  readonly info: EngineInfo
  /** Settles when the engine is gone, by `close` or by itself; the error says why in the latter case. */
  readonly closed: Promise<EngineError | null>
  createAdapter(id: AdapterId, config: LoraConfig): Promise<{ parameters: number }>
  releaseAdapter(id: AdapterId): Promise<void>
  /** Writes a PEFT folder (and optimiser state) into `folder`, which must not exist; synced when it returns. */
  saveAdapter(id: AdapterId, folder: string, part: AdapterPart): Promise<readonly AdapterFile[]>
  /** Replaces the adapter's weights. Gradients are dropped; optimiser state is restored or reset. */
  loadAdapter(id: AdapterId, folder: string, part: AdapterPart): Promise<void>
  /** Outcomes come as operations are done. Aborting ends what has not been done as a `cancelled` outcome. */
  train(items: readonly TrainingItem[], signal?: AbortSignal): AsyncIterable<Outcome<TrainingResult>>
  optimStep(steps: readonly OptimStep[]): Promise<readonly Outcome<OptimResult>[]>
  clipGradients(clips: readonly GradientClip[]): Promise<readonly Outcome<ClipResult>[]>
  discardGradients(id: AdapterId): Promise<void>
  /** Freezes the adapter's weights of this moment. Equal weights share one snapshot; each publish needs one release. */
  publish(id: AdapterId): Promise<SnapshotId>
  /** The same from a PEFT folder. */
  loadSnapshot(folder: string): Promise<SnapshotId>
  releaseSnapshot(id: SnapshotId): Promise<void>
  /** Ends when the prompt event (if asked for) and all samples have come, or throws an EngineError. */
  generate(request: GenerationRequest, signal?: AbortSignal): AsyncIterable<GenerationEvent>
  status(): Promise<EngineStatus>
  close(): Promise<void>
}

export interface BackendOptions {
  /** Folder for files that can be made again, such as converted weights. */
  readonly cacheDir: string
  /** Compute threads; 0 = the engine decides and says why in its log. */
  readonly threads: number
  readonly log: (line: string) => void
}

export interface Backend {
  readonly name: string
  open(model: ModelSource, options: BackendOptions, signal?: AbortSignal): Promise<Engine>
  /**
   * What a tokenizer of the model is loaded from, by file name, and its chat template: clients get them from the server.
   * Absent: tokenizer.json, tokenizer_config.json and the like from the model's folder. Throws for files that are no model.
   */
  tokenizerFiles?(model: ModelSource): Record<string, Uint8Array>
}

/** Types a backend written elsewhere; it is registered by `registerBackend` or by the configuration. */
export function defineBackend(backend: Backend): Backend {
  return backend
}
