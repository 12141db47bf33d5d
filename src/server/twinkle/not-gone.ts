// Twinkle's clients take a 410 for the end of an iteration: a loop over training steps would end there without a word. Only
// the end of an iteration may be one; whatever else is gone for Tinker's SDK is not found here.

import type { OperationId } from '../../generated/operations.ts'
import { ServiceError, toServiceError } from '../errors.ts'
import type { Handlers } from '../http/router.ts'

/** The code of the one 410 that stays. */
export const END_OF_ITERATION = 'ITERATOR_EXHAUSTED'

type AnyHandler = (call: unknown) => Promise<unknown>

/** The same handlers, whose errors are a 404 where they would be a 410. */
export function notGone<K extends OperationId>(handlers: Handlers<K>): Handlers<K> {
  const wrapped = Object.entries(handlers as unknown as Readonly<Record<string, AnyHandler>>).map(([id, handler]) => {
    const answer: AnyHandler = (call) =>
      handler(call).catch((cause) => {
        throw notFound(cause)
      })
    return [id, answer]
  })
  return Object.fromEntries(wrapped) as Handlers<K>
}

function notFound(cause: unknown): unknown {
  const error = toServiceError(cause)
  if (error.status !== 410 || error.code === END_OF_ITERATION) return cause
  const { code, category, message, details } = error
  return new ServiceError({ code, status: 404, category, message, next: '' }, { details, cause })
}
