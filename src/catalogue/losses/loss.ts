// What a loss of the catalogue is. Each is one formula over the positions that count (those whose label is not ignored), with
// its own normalisation: the engine only adds up. Three kinds of them exist besides `token`: those whose slopes depend on the
// log-probabilities of a whole sequence, those that compare pairs of sequences, and those that compare embeddings. Knows no
// formula and no engine.

import type { Arguments } from '../arguments.ts'
import type { LossNumbers } from './numbers.ts'

/** A loss's settings, complete and flat. Flags are 0 and 1. */
export type Settings = Readonly<Record<string, number | string>>

/** What a loss may read besides the targets, as engines call it; `WIRE_NAMES` has the words of Twinkle's protocol. */
export type CatalogueInput = 'mask' | 'logprobs' | 'ref_logps' | 'advantages' | 'teacher_topk_logprobs'

export const WIRE_NAMES: Readonly<Record<CatalogueInput, string>> = {
  mask: 'labels',
  logprobs: 'old_logps',
  ref_logps: 'ref_logps',
  advantages: 'advantages',
  teacher_topk_logprobs: 'teacher_topk_logprobs',
}

/** One sequence of N positions; all are [N] but the teacher's, which is [N, width] as the targets are. */
export interface LossDatum {
  readonly width: number
  readonly targets?: Int32Array
  /** 1 where the position counts, 0 where its label is ignored. */
  readonly mask?: Float32Array
  /** Of the policy that sampled. Absent: the policy is the one being trained, and every ratio is 1. */
  readonly logprobs?: Float32Array
  /** Of the frozen reference model. */
  readonly ref_logps?: Float32Array
  readonly advantages?: Float32Array
  readonly teacher_topk_logprobs?: Float32Array
}

/** What a token loss knows of one position that counts. */
export interface Target {
  readonly old: number
  readonly advantage: number
  readonly reference?: number
  /** There is no sampling policy but the one being trained: r = 1, with its slope. */
  readonly isOnPolicy?: boolean
}

/** Labels of -100 do not count; no other number can be had for that. */
export const onlyIgnored = (args: Arguments): void => args.only('ignore_index', -100)

interface LossTraits<S extends Settings> {
  /** The class of Twinkle's that this is. */
  readonly name: string
  /** Its short name. */
  readonly key: string
  /** The loss as a formula, for people. */
  readonly formula: string
  readonly source: string
  readonly required: readonly CatalogueInput[]
  readonly optional: readonly CatalogueInput[]
  /** Targets may be (N, K). */
  readonly soft: boolean
  /** Reads all keyword arguments of the class; throws CatalogueError. */
  settings(args: Arguments): S
  /** `sum`: whoever clips divides by the tokens that were counted. `mean`: by the number of accumulated batches. */
  reduction(settings: S): 'sum' | 'mean'
  /** What is wrong with a datum beyond sizes and missing tensors: a sentence, or undefined. */
  problem?(datum: LossDatum, settings: S): string | undefined
  /** The same of all datums of an operation together. */
  problemOfAll?(datums: readonly LossDatum[], settings: S): string | undefined
  /** Per datum [N]: what each position's term is multiplied by. 0 where a position does not count. */
  shares(datums: readonly LossDatum[], settings: S): Float64Array[]
  /** Weight of the entropy that each position's term is lowered by. Absent: none. */
  entropyWeight?(settings: S): number
}

/** The sum over positions of `shares` times `value`. */
export interface TokenCatalogueLoss<S extends Settings> extends LossTraits<S> {
  readonly kind: 'token'
  value(p: number, x: Target, settings: S): number
  numbers(x: Target, settings: S): LossNumbers
}

export interface JointOutcome {
  readonly loss: number
  /** Per datum, of its log-probabilities' shape: d(-loss)/dp; or by the vector that its embedding is the direction of. */
  readonly slopes: Float64Array[]
}

/**
 * `joint` has all datums of an operation and their log-probabilities, [N] or [N, width] each. `pair`: the datums alternate
 * between the preferred answer and the other one. `embedding`: instead of log-probabilities come vectors, [hidden] each: the
 * normalised hidden state at the one position that the datum's mask marks. The target there is the row's label.
 */
export interface JointCatalogueLoss<S extends Settings> extends LossTraits<S> {
  readonly kind: 'sequence' | 'pair' | 'embedding'
  joint(datums: readonly LossDatum[], logprobs: readonly Float64Array[], settings: S): JointOutcome
}

export type CatalogueLoss<S extends Settings = Settings> = TokenCatalogueLoss<S> | JointCatalogueLoss<S>
