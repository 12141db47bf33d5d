// Saving and loading weights, and what a checkpoint is of.

import type { RequestBody } from '../../generated/operations.ts'
import { serviceError } from '../errors.ts'
import type { Services } from '../services/services.ts'
import type { TinkerHandlers } from './handlers.ts'
import { checkOptimizer } from './models.ts'
import { numbered, peek } from './refused.ts'
import { seqNumber } from './seq-number.ts'

export function weightsHandlers(services: Services) {
  const { checkpoints, training, weightCopies, weightsAccess } = services
  return {
    saveWeights: async ({ tenant, body }) => {
      const { requestId, modelId } = await training.saveWeights(tenant.id, body.model_id, seqNumber(body.seq_id), {
        kind: 'weights',
        name: body.path,
        overwrite: body.overwrite ?? false,
        ttlSeconds: body.ttl_seconds ?? null,
        userMetadata: body.user_metadata ?? {},
        hasOptimizer: true,
      })
      return { request_id: requestId, model_id: modelId }
    },
    // What is saved for elsewhere is a PEFT folder, as all our saves are; it holds no state of the optimiser.
    saveWeightsExternal: async ({ tenant, body }) => {
      if (body.age_encryption_recipients?.length) {
        throw serviceError('UNSUPPORTED_FIELD', {
          field: 'age_encryption_recipients',
          operation: 'save_weights_external',
        })
      }
      const { requestId, modelId } = await training.saveWeights(tenant.id, body.model_id, seqNumber(body.seq_id), {
        kind: 'external_weights',
        name: body.path,
        overwrite: false,
        ttlSeconds: body.ttl_seconds ?? null,
        userMetadata: {},
        hasOptimizer: false,
      })
      return { request_id: requestId, model_id: modelId }
    },
    saveWeightsForSampler: async ({ tenant, body }) => {
      const { requestId, modelId } = await training.saveForSampler(tenant.id, {
        modelId: body.model_id,
        seqId: seqNumber(body.seq_id),
        ...(body.path != null && { path: body.path }),
        ...(body.sampling_session_seq_id != null && { samplingSessionSeqId: body.sampling_session_seq_id }),
        isInflight: body.kind === 'inflight',
        ttlSeconds: body.ttl_seconds ?? null,
        userMetadata: body.user_metadata ?? {},
      })
      return { request_id: requestId, model_id: modelId }
    },
    loadWeights: ({ tenant, body }) =>
      numbered(
        services,
        tenant.id,
        () => peek(body),
        async () => {
          checkOptimizer(body.optimizer_config?.type)
          const optimizer = body.optimizer ?? true
          const reader = await weightsAccess.readerOf(tenant.id, body.path, body.weights_access_token)
          const { requestId, modelId } =
            body.model_id != null
              ? await training.loadWeights(tenant.id, body.model_id, seqNumber(body.seq_id), {
                  path: body.path,
                  optimizer,
                  reader,
                })
              : await training.resume(tenant.id, resumedRun(body, optimizer), reader)
          return { request_id: requestId, model_id: modelId }
        },
      ),
    copyWeights: async ({ tenant, body, request }) => {
      const token = request.headers['x-tinker-weights-access-token'] ?? body.weights_access_token
      const key = request.headers['x-idempotency-key']
      const tinker_path = await weightCopies.copy(tenant.id, {
        sourcePath: body.source_path,
        reader: await weightsAccess.readerOf(tenant.id, body.source_path, token?.toString()),
        destination: destinationOf(body),
        ttlSeconds: body.ttl_seconds ?? null,
        ...(typeof key === 'string' && { key }),
      })
      return { tinker_path }
    },
    weightsInfo: async ({ tenant, body }) => {
      const reader = tenant.opens?.path === body.tinker_path ? tenant.opens.tenant : tenant.id
      const checkpoint = await checkpoints.find(reader, body.tinker_path)
      return {
        base_model: checkpoint.base_model,
        is_lora: true,
        lora_rank: checkpoint.rank,
        train_unembed: checkpoint.train_unembed === 1,
        train_mlp: checkpoint.train_mlp === 1,
        train_attn: checkpoint.train_attention === 1,
        optimizer_config: { type: 'adamw' },
      }
    },
  } satisfies Partial<TinkerHandlers>
}

function resumedRun(body: RequestBody<'loadWeights'>, optimizer: boolean) {
  const { session_id: sessionId, model_seq_id: modelSeqId, base_model: baseModel, path } = body
  if (sessionId == null || modelSeqId == null) {
    const problem = 'it needs model_id, or session_id with model_seq_id'
    throw serviceError('INVALID_BODY', { operation: 'load_weights', problem })
  }
  const userMetadata = body.user_metadata ?? {}
  return { sessionId, modelSeqId, path, optimizer, ...(baseModel != null && { baseModel }), userMetadata }
}

function destinationOf({ destination_project_id, session_id, model_seq_id }: RequestBody<'copyWeights'>) {
  const hasNumber = session_id != null && model_seq_id != null
  if (hasNumber && destination_project_id == null) return { sessionId: session_id, modelSeqId: model_seq_id }
  if (destination_project_id != null && session_id == null && model_seq_id == null) {
    return { projectId: destination_project_id }
  }
  const problem = 'it needs either destination_project_id, or session_id with model_seq_id'
  throw serviceError('INVALID_BODY', { operation: 'copy_weights', problem })
}
