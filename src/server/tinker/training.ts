// forward, forward_backward and optim_step; custom losses, which are refused by name.

import { LOSSES } from '../../backends/losses.ts'
import { checkSettings } from '../../backends/optimizer-check.ts'
import { serviceError } from '../errors.ts'
import type { Services } from '../services/services.ts'
import { decodeTraining, trainingOfJson } from '../wire/training.ts'
import type { TinkerHandlers } from './handlers.ts'
import { checkOptimizer } from './models.ts'
import { numbered, peek } from './refused.ts'
import { seqNumber } from './seq-number.ts'

type TrainingBody = Parameters<typeof trainingOfJson>[0]

/** The SDK's AdamParams defaults: they count where a caller leaves a field out. */
const ADAM = { learning_rate: 1e-4, beta1: 0.9, beta2: 0.95, eps: 1e-12, weight_decay: 0, grad_clip_norm: 0 }

export function trainingHandlers(services: Services) {
  const { training } = services
  const submit = (tenant: string, body: Uint8Array | TrainingBody) =>
    numbered(
      services,
      tenant,
      () => peek(body),
      async () => {
        const call = body instanceof Uint8Array ? decodeTraining(body) : trainingOfJson(body)
        if (call.lossName === 'custom') throw customLoss(`loss_id ${call.lossConfig.loss_id ?? 'is missing'}`)
        const { requestId, modelId } = await training.train(tenant, call)
        return { request_id: requestId, model_id: modelId }
      },
    )

  return {
    forwardBackward: ({ tenant, body }) => submit(tenant.id, body),
    forward: ({ tenant, body }) => submit(tenant.id, body),
    createCustomLoss: async ({ tenant, body }) => {
      await services.sessions.require(tenant.id, body.session_id)
      throw customLoss(`create_custom_loss of ${body.name}`)
    },
    optimStep: ({ tenant, body }) =>
      numbered(
        services,
        tenant.id,
        () => peek(body),
        async () => {
          checkOptimizer(body.optimizer_params?.type)
          const step = adamStep({ ...body.optimizer_params, ...body.adam_params })
          checkSettings(step)
          const seqId = seqNumber(body.seq_id)
          const { requestId, modelId } = await training.optimStep(tenant.id, body.model_id, seqId, step)
          return { request_id: requestId, model_id: modelId }
        },
      ),
  } satisfies Partial<TinkerHandlers>
}

const customLoss = (what: string) => serviceError('CUSTOM_LOSS', { what, losses: Object.keys(LOSSES) })

type AdamField = keyof typeof ADAM

function adamStep(given: Readonly<Partial<Record<AdamField, number | null>>>) {
  const value = (field: AdamField) => given[field] ?? ADAM[field]
  return {
    rule: 'adamw' as const,
    learningRate: value('learning_rate'),
    beta1: value('beta1'),
    beta2: value('beta2'),
    epsilon: value('eps'),
    weightDecay: value('weight_decay'),
    clipNorm: value('grad_clip_norm'),
  }
}
