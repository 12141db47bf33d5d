// What a client asks before it starts: configuration flags, capabilities, health; and its telemetry.

import type { Services } from '../services/services.ts'
import type { TinkerHandlers } from './handlers.ts'

/**
 * The SDK's own defaults but: plain httpx instead of the Rust transport, protobuf and forward-by-forward_backward for the
 * SDKs that have a choice (0.19 to 0.24), and resuming by one load_weights (0.24 to 0.37) as 0.38 always does.
 */
const CONFIG = {
  use_pyqwest_transport: false,
  proto_write_fwdbwd: true,
  fwd_via_fwdbwd: true,
  create_model_via_load_weights: true,
  parallel_fwdbwd_chunks: true,
  proto_compress_fwdbwd: false,
  pjwt_auth_enabled: false,
}

export function clientHandlers({ models, log }: Services) {
  return {
    // The SDK asks with an HTTP client of its own that it drops without closing. What Python's garbage collector later makes
    // of an open connection can deafen another one, and the SDK then waits out a whole timeout for an answer that it has.
    clientConfig: async () => ({ json: CONFIG, headers: { connection: 'close' } }),
    clientDynamicConfig: async () => ({ refresh_interval_sec: 300, sample_cancel_enabled: true }),
    healthz: async () => ({ status: 'ok' }),
    getServerCapabilities: async () => ({
      supported_models: models.names().map((name) => ({
        model_name: name,
        max_context_length: models.get(name).info.maxContext,
        trainable: true,
        sampleable: true,
      })),
    }),
    // Events may hold request headers, keys among them: only their number is kept.
    reportTelemetry: async ({ body, request }) => {
      log.debug({ request: request.id, events: body.events.length }, 'telemetry')
      return { status: 'accepted' }
    },
  } satisfies Partial<TinkerHandlers>
}
