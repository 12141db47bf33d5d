// How many threads computing gets when nobody says. Knows sizes and cores, nothing of models' contents.

import { availableParallelism } from 'node:os'

/** Below this width a matrix product is over before a second thread has been woken. */
const NARROW = 256

export interface Threads {
  readonly count: number
  readonly reason: string
}

/** `wanted` 0 leaves the choice to this function. `cores`: what this process may use. */
export function chooseThreads(hidden: number, wanted: number, cores = availableParallelism()): Threads {
  if (wanted > 0) return { count: wanted, reason: 'configured' }
  if (hidden < NARROW) return { count: 1, reason: `hidden size ${hidden} is below ${NARROW}: more would only wait` }
  return { count: cores, reason: `${cores} cores are available` }
}
