// What can go wrong because a model computes in this process rather than on a server. Everything else is said by the client.

import { TwinkleError } from '../client/twinkle/errors.ts'

export class LocalError extends TwinkleError {
  override readonly name = 'LocalError'
}
