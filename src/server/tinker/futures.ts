// retrieve_future: the one answer to every submitted operation.

import { failureBody } from '../errors.ts'
import type { Services } from '../services/services.ts'
import { replyJson } from '../wire/reply.ts'
import type { TinkerHandlers } from './handlers.ts'

const PROTOBUF = 'application/x-protobuf'
const JSON_TYPE = 'application/json'

export function futureHandlers({ futures, holdMs }: Services) {
  return {
    retrieveFuture: async ({ tenant, body, request }) => {
      const future = await futures.retrieve(tenant.id, body.request_id, holdMs, request.signal)
      if (future.state === 'failed') return failureBody(future.error)
      // 408 makes every SDK ask again at once without a warning in its log.
      if (future.state === 'pending')
        return { status: 408, json: { queue_state: 'active', request_id: body.request_id } }
      const wantsProtobuf = request.headers.accept?.includes(PROTOBUF) ?? false
      if (future.type === 'json') return { contentType: JSON_TYPE, bytes: future.bytes }
      if (wantsProtobuf) return { contentType: PROTOBUF, bytes: future.bytes }
      return replyJson(future.type, future.bytes)
    },
  } satisfies Partial<TinkerHandlers>
}
