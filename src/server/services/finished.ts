// For protocols whose calls wait for what they asked for: an acknowledged operation, held until it has ended, whatever it
// takes. Knows futures; knows no operation.

import type { Reply } from '../calls.ts'
import { failedWith, serviceError } from '../errors.ts'
import { replyOf } from '../wire/reply.ts'
import type { FutureState, Futures } from './futures.ts'

/** A timer cannot be set for longer. */
const FOREVER_MS = 2 ** 31 - 1

/**
 * The reply of an operation, or its error thrown. A caller who goes away leaves it to be done.
 *
 * @throws ServiceError what the operation failed with; SHUTTING_DOWN when the server closes or the caller goes away first
 */
export async function finished(
  futures: Pick<Futures, 'retrieve'>,
  tenant: string,
  requestId: string,
  signal: AbortSignal,
): Promise<Reply> {
  const future = await ended(futures, tenant, requestId, signal)
  if (future.state === 'failed') throw failedWith(future.error)
  return replyOf(future.type, future.bytes)
}

/** Its end, be it good or not. Throws SHUTTING_DOWN. */
export async function ended(
  futures: Pick<Futures, 'retrieve'>,
  tenant: string,
  requestId: string,
  signal: AbortSignal,
): Promise<Exclude<FutureState, { state: 'pending' }>> {
  const future = await futures.retrieve(tenant, requestId, FOREVER_MS, signal)
  if (future.state === 'pending') throw serviceError('SHUTTING_DOWN')
  return future
}
