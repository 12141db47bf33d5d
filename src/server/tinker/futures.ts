// What became of submitted operations: retrieve_future for one, retrieve_futures for the samples of a sampling session; and
// cancel_future.

import { failureBody } from '../errors.ts'
import type { Standing } from '../services/queue.ts'
import type { Services } from '../services/services.ts'
import { replyJson } from '../wire/reply.ts'
import type { TinkerHandlers } from './handlers.ts'

const PROTOBUF = 'application/x-protobuf'
const JSON_TYPE = 'application/json'

/** From here on a client that asks for it hears of a result's size first, so that it can make room. */
const LARGE_BYTES = 2 ** 20

export function futureHandlers({ futures, sampling, sampleEvents, inquiries, holdMs }: Services) {
  return {
    retrieveFuture: async ({ tenant, body, request }) => {
      const future = await futures.retrieve(tenant.id, body.request_id, holdMs, request.signal)
      if (future.state === 'failed') return failureBody(future.error)
      if (future.state === 'pending') return pending(body.request_id, await inquiries.standing(body.request_id))
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

/**
 * 408 makes every SDK ask again at once. Those that look at the state log a pause with its reason once a minute; the other
 * answer that means "not yet", try_again, would add a warning to every poll.
 */
function pending(request_id: string, standing: Standing | null) {
  if (!standing) return { status: 408, json: { request_id, queue_state: 'active' } }
  const { queueState: queue_state, reason, position, estimateMs } = standing
  const togo = estimateMs ? `; about ${roughly(estimateMs)} to go` : ''
  return {
    status: 408,
    json: {
      request_id,
      queue_state,
      queue_state_reason: reason && `${reason}${togo}`,
      position,
      ...(estimateMs !== null && { estimate_ms: estimateMs }),
    },
  }
}

function roughly(ms: number): string {
  const seconds = Math.ceil(ms / 1000)
  if (seconds <= 90) return `${seconds} s`
  return seconds <= 5400 ? `${Math.round(seconds / 60)} min` : `${Math.round(seconds / 3600)} h`
}
