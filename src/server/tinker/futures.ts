// What became of submitted operations: retrieve_future for one, retrieve_futures for the samples of a sampling session; and
// cancel_future.

import { failureBody } from '../errors.ts'
import type { Services } from '../services/services.ts'
import { replyJson } from '../wire/reply.ts'
import type { TinkerHandlers } from './handlers.ts'

const PROTOBUF = 'application/x-protobuf'
const JSON_TYPE = 'application/json'

/** From here on a client that asks for it hears of a result's size first, so that it can make room. */
const LARGE_BYTES = 2 ** 20

export function futureHandlers({ futures, sampling, sampleEvents, holdMs }: Services) {
  return {
    retrieveFuture: async ({ tenant, body, request }) => {
      const future = await futures.retrieve(tenant.id, body.request_id, holdMs, request.signal)
      if (future.state === 'failed') return failureBody(future.error)
      // 408 makes every SDK ask again at once without a warning in its log.
      if (future.state === 'pending')
        return { status: 408, json: { queue_state: 'active', request_id: body.request_id } }
      if (body.allow_metadata_only && future.bytes.byteLength > LARGE_BYTES) {
        return { status: 'complete_metadata', response_payload_size: future.bytes.byteLength }
      }
      const wantsProtobuf = request.headers.accept?.includes(PROTOBUF) ?? false
      if (future.type === 'json') return { contentType: JSON_TYPE, bytes: future.bytes }
      if (wantsProtobuf) return { contentType: PROTOBUF, bytes: future.bytes }
      return replyJson(future.type, future.bytes)
    },
    retrieveFutures: async ({ tenant, body, request }) => {
      const { sampling_session_id: samplingSession, cloned_sampler_id: copy } = body.target
      await sampling.find(tenant.id, samplingSession)
      const { ends, cursor } = await sampleEvents.poll(
        {
          samplingSession,
          ...(copy != null && { copy: `${copy}` }),
          cursor: Number(body.prev_cursor),
          holdMs: body.timeout == null ? holdMs : Math.min(body.timeout * 1000, holdMs),
        },
        request.signal,
      )
      return { completions: ends.map(({ id, state }) => ({ request_id: id, state })), cursor }
    },
    // Training operations keep their place in the order of their model: only samples can be cancelled.
    cancelFuture: async ({ tenant, body }) => sampling.cancel(tenant.id, body.request_id),
  } satisfies Partial<TinkerHandlers>
}
