// Saving, loading, resuming; the weights as numbers; uploads, which are refused.

import { serviceError } from '../errors.ts'
import type { Services } from '../services/services.ts'
import { askedOf } from './asked.ts'
import type { TwinkleHandlers } from './handlers.ts'
import { underTwinkle } from './records.ts'

export function saveHandlers({ models, checkpoints, twinkleSaves: saves }: Services) {
  return {
    // checkpoint_dir is a place on the disk of Twinkle's own server; here it is what load takes, and so do uploads.
    modelSave: async (call) => {
      const { name, save_optimizer, is_sampler, consumed_train_samples } = call.body
      const path = await saves.save(askedOf(call), {
        name: name ?? '',
        hasOptimizer: save_optimizer ?? false,
        isSampler: is_sampler ?? false,
        consumed: consumed_train_samples ?? 0,
      })
      return { twinkle_path: underTwinkle(path), checkpoint_dir: underTwinkle(path) }
    },
    modelLoad: async (call) => {
      await saves.load(askedOf(call), call.body.name, call.body.load_optimizer ?? false)
      return null
    },
    modelResumeFromCheckpoint: async (call) => ({
      result: await saves.resume(askedOf(call), call.body.name, call.body.resume_only_model ?? false),
    }),
    modelGetStateDict: async (call) => ({ result: await saves.stateDict(askedOf(call)) }),
    modelUploadToHub: async ({ tenant, params, body }) => {
      models.get(params.base)
      const { checkpoint_dir: given, hub_model_id: hub } = body
      await checkpoints.find(tenant.id, typeof given === 'string' ? given : given.twinkle_path)
      throw serviceError('NO_HUB', { hub })
    },
    modelUploadStatus: async ({ params }) => {
      throw serviceError('UNKNOWN_UPLOAD', { id: params.request_id })
    },
  } satisfies Partial<TwinkleHandlers>
}
