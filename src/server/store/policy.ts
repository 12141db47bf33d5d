// How long what is kept, as data: the operator may change it (`keep` in a configuration file), and `twinkle state show` shows
// it.

const HOUR = 3_600_000

/** Milliseconds. */
export interface Policy {
  /** A call after its end, beyond what a replay needs; and a sampler without a name after its session. */
  readonly calls: number
  /** An answer after it was first fetched. */
  readonly answers: number
  /** An answer that nobody has fetched. */
  readonly unfetchedAnswers: number
  /** The rows of samples, of runs that are over, and of what a live run did before its restart point. */
  readonly rows: number
  /** The ledger of what was used. */
  readonly usage: number
  /** From one look at all of this to the next. */
  readonly tidyEvery: number
}

export const DEFAULT_POLICY: Policy = {
  calls: HOUR,
  answers: 24 * HOUR,
  unfetchedAnswers: 7 * 24 * HOUR,
  rows: 30 * 24 * HOUR,
  usage: 400 * 24 * HOUR,
  tidyEvery: HOUR / 6,
}

/** How old a file without a row must be to go, where another server may be about to write its row. */
export const ORPHAN_MS = 24 * HOUR
