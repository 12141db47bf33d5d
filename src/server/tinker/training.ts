// forward, forward_backward and optim_step.

import { checkSettings } from '../../backends/transformers/optimizer.ts'
import type { Services } from '../services/services.ts'
import { decodeTrainingJson, decodeTrainingProto, peekTraining } from '../wire/training.ts'
import type { TinkerHandlers } from './handlers.ts'
import { checkOptimizer } from './models.ts'
import { seqNumber } from './seq-number.ts'

/** The SDK's AdamParams defaults: they count where a caller leaves a field out. */
const ADAM = { learning_rate: 1e-4, beta1: 0.9, beta2: 0.95, eps: 1e-12, weight_decay: 0, grad_clip_norm: 0 }

export function trainingHandlers({ training }: Services) {
  const submit = async (tenant: string, body: unknown, forwardOnly: boolean) => {
    const { requestId, modelId } = await decodeOrRefuse(tenant, body, () =>
      training.train(
        tenant,
        body instanceof Uint8Array ? decodeTrainingProto(body) : decodeTrainingJson(body as never, { forwardOnly }),
      ),
    )
    return { request_id: requestId, model_id: modelId }
  }

  /** A number counts as used once its request was sent, readable or not: later requests must not wait for it. */
  const decodeOrRefuse = async <T>(tenant: string, body: unknown, decode: () => Promise<T>): Promise<T> => {
    try {
      return await decode()
    } catch (cause) {
      const { modelId, seqId } = peekTraining(body)
      if (modelId !== undefined && seqId !== undefined) await training.refuse(tenant, modelId, seqId)
      throw cause
    }
  }

  return {
    forwardBackward: async ({ tenant, body }) => submit(tenant.id, body, false),
    forward: async ({ tenant, body }) => submit(tenant.id, body, true),
    optimStep: async ({ tenant, body }) => {
      const seqId = seqNumber(body.seq_id)
      try {
        checkOptimizer(body.optimizer_params?.type)
        const given = { ...body.optimizer_params, ...body.adam_params } as Partial<
          Record<keyof typeof ADAM, number | null>
        >
        const value = (key: keyof typeof ADAM) => given[key] ?? ADAM[key]
        const step = {
          rule: 'adamw' as const,
          learningRate: value('learning_rate'),
          beta1: value('beta1'),
          beta2: value('beta2'),
          epsilon: value('eps'),
          weightDecay: value('weight_decay'),
          clipNorm: value('grad_clip_norm'),
        }
        checkSettings(step)
        const { requestId, modelId } = await training.optimStep(tenant.id, body.model_id, seqId, step)
        return { request_id: requestId, model_id: modelId }
      } catch (cause) {
        await training.refuse(tenant.id, body.model_id, seqId)
        throw cause
      }
    },
  } satisfies Partial<TinkerHandlers>
}
