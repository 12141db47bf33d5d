// Models (training runs): create, ask about, unload.

import { serviceError } from '../errors.ts'
import type { Services } from '../services/services.ts'
import { seedText } from '../wire/seed.ts'
import type { TinkerHandlers } from './handlers.ts'

export function modelHandlers({ models, runs, training }: Services) {
  return {
    createModel: async ({ tenant, body }) => {
      checkOptimizer(body.optimizer_config?.type)
      const lora = body.lora_config
      const { requestId, modelId } = await training.createModel(tenant.id, {
        sessionId: body.session_id,
        modelSeqId: body.model_seq_id,
        baseModel: body.base_model,
        ...(lora && { rank: lora.rank }),
        ...(lora?.seed != null && { seed: seedText(lora.seed) }),
        trainAttention: lora?.train_attn ?? true,
        trainMlp: lora?.train_mlp ?? true,
        trainUnembed: lora?.train_unembed ?? true,
        userMetadata: body.user_metadata ?? {},
      })
      return { request_id: requestId, model_id: modelId }
    },
    getInfo: async ({ tenant, body }) => {
      const run = await runs.find(tenant.id, body.model_id)
      const { info } = models.get(run.base_model)
      return {
        type: 'get_info',
        model_id: run.id,
        model_name: run.base_model,
        // The tokenizer comes from this server too (hub routes), under the model's name; never a path of this machine.
        model_data: { arch: info.architecture, model_name: run.base_model, tokenizer_id: run.base_model },
        is_lora: true,
        lora_rank: run.rank,
        optimizer_config: { type: 'adamw' },
      }
    },
    unloadModel: async ({ tenant, body }) => {
      const { requestId, modelId } = await training.unload(tenant.id, body.model_id)
      return { request_id: requestId, model_id: modelId }
    },
  } satisfies Partial<TinkerHandlers>
}

export function checkOptimizer(type: string | null | undefined): void {
  if (type != null && type !== 'adamw') {
    throw serviceError('UNKNOWN_OPTIMIZER', { optimizer: type, optimizers: ['adamw'] })
  }
}
