// forward, forward_backward and optim_step.

import { checkSettings } from '../../backends/transformers/optimizer.ts'
import type { Services } from '../services/services.ts'
import { decodeTraining, type Peeked, peekTraining, trainingOfJson } from '../wire/training.ts'
import type { TinkerHandlers } from './handlers.ts'
import { checkOptimizer } from './models.ts'
import { seqNumber } from './seq-number.ts'

type TrainingBody = Parameters<typeof trainingOfJson>[0]

function peekJson({ model_id, seq_id }: TrainingBody): Peeked {
  return { modelId: model_id, ...(typeof seq_id === 'number' && { seqId: seq_id }) }
}

/** The SDK's AdamParams defaults: they count where a caller leaves a field out. */
const ADAM = { learning_rate: 1e-4, beta1: 0.9, beta2: 0.95, eps: 1e-12, weight_decay: 0, grad_clip_norm: 0 }

export function trainingHandlers({ training }: Services) {
  const submit = async (tenant: string, body: Uint8Array | TrainingBody) => {
    try {
      const call = body instanceof Uint8Array ? decodeTraining(body) : trainingOfJson(body)
      const { requestId, modelId } = await training.train(tenant, call)
      return { request_id: requestId, model_id: modelId }
    } catch (cause) {
      await refuse(tenant, body instanceof Uint8Array ? peekTraining(body) : peekJson(body))
      throw cause
    }
  }

  /** A number counts as used once its request was sent, readable or not: later requests must not wait for it. */
  const refuse = async (tenant: string, { modelId, seqId }: Peeked) => {
    if (modelId !== undefined && seqId !== undefined) await training.refuse(tenant, modelId, seqId)
  }

  return {
    forwardBackward: async ({ tenant, body }) => submit(tenant.id, body),
    forward: async ({ tenant, body }) => submit(tenant.id, body),
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
