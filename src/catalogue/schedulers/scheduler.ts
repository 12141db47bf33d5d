// What a learning rate scheduler is here: arguments read once into plain data, then what is set at each step, computed from
// the number of the step alone (torch computes most of them from the rate before: the numbers are the same but for rounding).
// Knows no scheduler.

import type { Arguments } from '../arguments.ts'

/** What a scheduler sets. */
export interface Setting {
  readonly learningRate: number
  /** SGD's momentum or the first beta of Adam, where a scheduler moves it. */
  readonly momentum?: number
}

export type Numbers = Readonly<Record<string, number | string | boolean | null | readonly number[]>>

export interface Scheduler<C extends Numbers = Numbers> {
  /** Arguments of its own, checked; the caller refuses what is left. */
  read(args: Arguments): C
  /**
   * @param base the learning rate of the optimiser as it was set
   * @param step how often it was stepped: 0 is what counts from the beginning
   */
  at(config: C, base: number, step: number): Setting
  /** The last step there is, where there is one. */
  last?(config: C): number
}

export const scheduler = <C extends Numbers>(of: Scheduler<C>): Scheduler => of as unknown as Scheduler

/** From `from` at 0 to `to` at 1, along half a cosine. */
export const alongCosine = (from: number, to: number, share: number): number =>
  to + ((from - to) / 2) * (1 + Math.cos(Math.PI * share))
