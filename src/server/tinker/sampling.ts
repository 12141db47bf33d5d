// Sampling sessions and samples.

import type { Services } from '../services/services.ts'
import { sampleOfJson } from '../wire/sample.ts'
import type { TinkerHandlers } from './handlers.ts'

export function samplingHandlers({ sampling }: Services) {
  return {
    createSamplingSession: async ({ tenant, body }) => ({
      sampling_session_id: await sampling.open(tenant.id, {
        sessionId: body.session_id,
        seqId: body.sampling_session_seq_id,
        ...(body.base_model != null && { baseModel: body.base_model }),
        ...(body.model_path != null && { modelPath: body.model_path }),
      }),
      type: 'create_sampling_session',
    }),
    joinSamplingSession: async ({ tenant, body }) => ({
      client_counter: await sampling.join(tenant.id, body.sampling_session_id),
      type: 'join_sampling_session',
    }),
    getSampler: async ({ tenant, params }) => {
      const { id, base_model, model_path } = await sampling.find(tenant.id, params.sampler_id)
      return { sampler_id: id, base_model, ...(model_path !== null && { model_path }) }
    },
    asample: async ({ tenant, body }) => {
      const { requestId, sequenceIds } = await sampling.sample(tenant.id, sampleOfJson(body))
      // The SDK (0.26 and later) fails without one id for each requested sequence.
      return { request_id: requestId, sample_sequence_ids: sequenceIds }
    },
  } satisfies Partial<TinkerHandlers>
}
