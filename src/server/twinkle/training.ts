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

export function trainingHandlers({ twinklePasses: passes, twinkleUpdates: updates }: Services) {
  return {
    modelForward: async (call) => ({
      result: await passes.forward(askedOf(call), call.body.inputs, keywords(call.body, 'inputs')),
    }),
    modelForwardOnly: async (call) => ({
      result: await passes.forwardOnly(askedOf(call), call.body.inputs, keywords(call.body, 'inputs')),
    }),
    modelForwardBackward: async (call) => ({
      result: await passes.forwardBackward(askedOf(call), call.body.inputs, keywords(call.body, 'inputs')),
    }),
    modelCalculateLoss: async (call) => ({
      result: await passes.calculateLoss(askedOf(call), keywords(call.body)),
    }),
    modelBackward: async (call) => {
      await passes.backward(askedOf(call), keywords(call.body))
      return null
    },
    modelClipGradNorm: async (call) => ({
      result: normText(await updates.clip(askedOf(call), clipOf(call.body), keywords(call.body, ...CLIP))),
    }),
    modelStep: async (call) => {
      await updates.step(askedOf(call), keywords(call.body))
      return null
    },
    modelZeroGrad: async (call) => {
      await updates.zeroGrad(askedOf(call), keywords(call.body))
      return null
    },
    modelLrStep: async (call) => {
      await updates.lrStep(askedOf(call), keywords(call.body))
      return null
    },
    modelClipGradAndStep: async (call) => {
      await updates.clipAndStep(askedOf(call), clipOf(call.body), keywords(call.body, ...CLIP))
      return null
    },
    modelCalculateMetric: async (call) => {
      const kind = (call.body.is_training ?? true) ? 'training' : 'evaluation'
      return { result: await updates.measure(askedOf(call), kind) }
    },
  } satisfies Partial<TwinkleHandlers>
}
