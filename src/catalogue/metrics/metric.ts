// What a metric is here: counts that passes add to, and what they come to when somebody asks. Counts are plain JSON with
// finite numbers, as they are stored between requests. Knows no metric.

import type { Arguments } from '../arguments.ts'

/** One sequence of N positions of a pass; arrays are [N], named as in a loss's datum. What a metric does not find, it leaves. */
export interface MetricRow {
  /** log p(label) under the model as it was in this pass. */
  readonly logps: ArrayLike<number>
  /** 0 where the label does not count; absent: all count. */
  readonly mask?: ArrayLike<number>
  /** Under the policy that sampled. */
  readonly logprobs?: ArrayLike<number>
  readonly ref_logps?: ArrayLike<number>
  readonly advantages?: ArrayLike<number>
  /** Of the model's distribution at each position, in nats. */
  readonly entropies?: ArrayLike<number>
  readonly values?: ArrayLike<number>
  readonly old_values?: ArrayLike<number>
  readonly returns?: ArrayLike<number>
  /** Of the whole sequence, any length; `isAnchor`: the next row is what it should be near. */
  readonly embedding?: ArrayLike<number>
  readonly isAnchor?: boolean
}

export interface MetricPass {
  readonly rows: readonly MetricRow[]
  /** Null where the pass computed none. */
  readonly loss: number | null
  /** Over which the loss is a sum; 0 for a mean. */
  readonly lossTokens: number
  /** How many labels that count were the likeliest token; absent: not known. */
  readonly likeliest?: number
}

/** What counts when somebody asks, whatever passes there were. */
export interface MetricMoment {
  /** Milliseconds of a clock. */
  readonly now: number
  /** Backward passes so far, and of how many an update is made. */
  readonly passes: number
  readonly accumulation: number
  /** One for each group of parameters; none before an optimiser is set. */
  readonly learningRates: readonly number[]
  /** Of the last clipping; null before one. */
  readonly gradientNorm: number | null
}

/** Text where people read it, numbers where programs do: as Twinkle has them. */
export type MetricResult = Readonly<Record<string, string | number>>
export type Counts = Readonly<Record<string, number | null>>
export type MetricConfig = Readonly<Record<string, number>>

export interface Metric<C extends MetricConfig = MetricConfig, S extends Counts = Counts> {
  read(args: Arguments): C
  /** Before any pass, and after each result. `before` is what there was then; undefined at the very beginning. */
  begin(moment: Pick<MetricMoment, 'now' | 'passes'>, before?: S): S
  add(config: C, counts: S, pass: MetricPass): S
  result(config: C, counts: S, moment: MetricMoment): MetricResult
  /** A sentence about a number of rows that it cannot take, or undefined. */
  problem?(rows: number): string | undefined
}

export const metric = <C extends MetricConfig, S extends Counts>(of: Metric<C, S>): Metric => of as unknown as Metric

export const NO_ARGUMENTS = (): MetricConfig => ({})

/** Only labels of -100 are ignored: masks are made of them before a metric sees a row. */
export function onlyIgnoreIndex(args: Arguments): void {
  args.only('ignore_index', -100)
}

/** Calls `each` with every position that counts; gives how many there are. */
export function positions({ logps, mask }: MetricRow, each: (i: number) => void): number {
  let count = 0
  for (let i = 0; i < logps.length; i++) {
    if (mask && mask[i] === 0) continue
    each(i)
    count++
  }
  return count
}

export function sumOver(row: MetricRow, values: ArrayLike<number>): number {
  let sum = 0
  positions(row, (i) => {
    sum += values[i] ?? 0
  })
  return sum
}

/** JSON has no word for infinity: what leaves the range of numbers stays at its end. */
export const finite = (x: number): number => Math.max(-Number.MAX_VALUE, Math.min(Number.MAX_VALUE, x))

/** Every field summed. */
export function plus<S extends Counts>(counts: S, more: Partial<Record<keyof S, number>>): S {
  const sums = Object.entries(more).map(([key, value]) => [key, finite(Number(counts[key]) + Number(value))])
  return { ...counts, ...Object.fromEntries(sums) }
}
