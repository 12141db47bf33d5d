// The setting `keep`: how long what is kept (store/policy.ts), as a mapping of names to durations. What is not named stays
// as it is by default.

import { ExpectedError, isMapping, pairs, type Reader } from './config-values.ts'
import { durationMs } from './durations.ts'
import { didYouMean } from './nearest.ts'
import { DEFAULT_POLICY, type Policy } from './store/policy.ts'

/** Less would take away what is in use; timers cannot be set for longer than 24 days, so tidying comes at least that often. */
const LEAST_MS = 1000
const MOST_TIDY_MS = 20 * 86_400_000
const MOST_MS = 100 * 365 * 86_400_000

const NAMES = Object.keys(DEFAULT_POLICY) as (keyof Policy)[]
/** `unfetchedAnswers` -> `unfetched_answers`. */
const keyOf = (name: keyof Policy) => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)

/** A mapping, or text such as `rows=7d,answers=12h`. */
export const keep: Reader<Policy> = (value) => {
  const given = isMapping(value) ? Object.entries(value) : pairs(value, 'a mapping of durations')
  const read = given.map(([key, one]) => {
    const name = NAMES.find((known) => keyOf(known) === key)
    if (name === undefined) {
      const keys = NAMES.map(keyOf)
      throw new ExpectedError(
        `durations by the names ${keys.join(', ')}; ${key} is none of them${didYouMean(key, keys)}`,
      )
    }
    return [name, duration(key, one)]
  })
  const policy: Policy = { ...DEFAULT_POLICY, ...Object.fromEntries(read) }
  if (policy.tidyEvery > MOST_TIDY_MS) throw new ExpectedError('tidy_every as a duration of at most 20d')
  return policy
}

function duration(key: string, value: unknown): number {
  const ms = durationMs(String(value)) ?? 0
  if (ms >= LEAST_MS && ms <= MOST_MS) return ms
  throw new ExpectedError(`${key} as a duration of at least 1s, such as 90s, 12h or 30d`)
}
