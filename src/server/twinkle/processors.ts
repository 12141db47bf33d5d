// Processor routes: objects of the catalogue that live in the server and are called by name.

import type { Services } from '../services/services.ts'
import type { TwinkleHandlers } from './handlers.ts'
import { partyOf } from './party.ts'

export function processorHandlers({ processors }: Services) {
  return {
    processorCreate: async (call) => {
      const { processor_type: type, class_type: className, ...kwargs } = call.body
      return { processor_id: await processors.create(partyOf(call), { type, className, kwargs }, call.request.signal) }
    },
    processorCall: async (call) => {
      const { processor_id: id, function: name, ...kwargs } = call.body
      return { result: await processors.call(partyOf(call), id, { function: name, kwargs }, call.request.signal) }
    },
    processorHeartbeat: async (call) => {
      const ids = call.body.processor_id.split(',').filter(Boolean)
      await processors.heartbeat(partyOf(call), ids)
      return { status: 'ok' }
    },
  } satisfies Partial<TwinkleHandlers>
}
