// Passes and updates: forward, calculate_loss, backward, forward_backward, clip_grad_norm, step, zero_grad.

import type { Services } from '../services/services.ts'
import { askedOf, keywords } from './asked.ts'
import type { TwinkleHandlers } from './handlers.ts'

/** Six decimals, as Twinkle writes norms; `None` where there was none yet. */
const normText = (norm: number | null): string => (norm === null ? 'None' : norm.toFixed(6))

interface ClipBody {
  readonly max_grad_norm?: number | null
  readonly norm_type?: number | null
}

const clipOf = ({ max_grad_norm, norm_type }: ClipBody) => ({
  maxNorm: max_grad_norm === undefined ? 1 : max_grad_norm || null,
  normType: norm_type ?? 2,
})
const CLIP = ['max_grad_norm', 'norm_type'] as const

export function trainingHandlers({ twinkleTraining: training }: Services) {
  return {
    modelForward: async (call) => ({
      result: await training.forward(askedOf(call), call.body.inputs, keywords(call.body, 'inputs')),
    }),
    modelForwardOnly: async (call) => ({
      result: await training.forwardOnly(askedOf(call), call.body.inputs, keywords(call.body, 'inputs')),
    }),
    modelForwardBackward: async (call) => ({
      result: await training.forwardBackward(askedOf(call), call.body.inputs, keywords(call.body, 'inputs')),
    }),
    modelCalculateLoss: async (call) => ({
      result: await training.calculateLoss(askedOf(call), keywords(call.body)),
    }),
    modelBackward: async (call) => {
      await training.backward(askedOf(call), keywords(call.body))
      return null
    },
    modelClipGradNorm: async (call) => ({
      result: normText(await training.clip(askedOf(call), clipOf(call.body), keywords(call.body, ...CLIP))),
    }),
    modelStep: async (call) => {
      await training.step(askedOf(call), keywords(call.body))
      return null
    },
    modelZeroGrad: async (call) => {
      await training.zeroGrad(askedOf(call), keywords(call.body))
      return null
    },
    modelLrStep: async (call) => {
      await training.lrStep(askedOf(call), keywords(call.body))
      return null
    },
    modelClipGradAndStep: async (call) => {
      await training.clipAndStep(askedOf(call), clipOf(call.body), keywords(call.body, ...CLIP))
      return null
    },
    modelCalculateMetric: async (call) => {
      const kind = (call.body.is_training ?? true) ? 'training' : 'evaluation'
      return { result: await training.measure(askedOf(call), kind) }
    },
  } satisfies Partial<TwinkleHandlers>
}
