// What the server is and has: health, capacity, base models.

import type { Services } from '../services/services.ts'
import type { TwinkleHandlers } from './handlers.ts'

export function serviceHandlers(_: Services) {
  return {
    twinkleHealthz: async () => ({ status: 'ok' }),
  } satisfies Partial<TwinkleHandlers>
}
