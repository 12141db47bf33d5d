// Looking at training runs and checkpoints, of whichever protocol, and what their owner may do with them.

import { serviceError } from '../errors.ts'
import { tinkerPath } from '../services/checkpoints.ts'
import type { Services } from '../services/services.ts'
import { cursorOf } from '../tinker/records.ts'
import type { TwinkleHandlers } from './handlers.ts'
import { checkpointRecord, runRecord, twinklePath } from './records.ts'

const KINDS = ['weights', 'sampler_weights', 'external_weights'] as const

export function runHandlers({ catalog, checkpoints, retention }: Services) {
  return {
    twinkleListRuns: async ({ tenant, query: { limit, offset, all_users } }) => {
      if (all_users && tenant.role !== 'admin') throw serviceError('ADMINS_ONLY', { what: 'runs of all users' })
      const page = await catalog.runs(tenant.id, { limit, offset, scope: all_users ? 'all' : 'owned' })
      return { training_runs: page.rows.map(runRecord), cursor: cursorOf(page) }
    },
    twinkleGetRun: async ({ tenant, params }) => runRecord(await catalog.run(tenant.id, params.run_id, 'owned')),
    // Clients take the last one for the newest.
    twinkleListCheckpoints: async ({ tenant, params }) => {
      const rows = await catalog.checkpointsOf(tenant.id, params.run_id, KINDS)
      return { checkpoints: rows.toReversed().map(checkpointRecord), cursor: null }
    },
    twinkleDeleteCheckpoint: async ({ tenant, params: { run_id: run, kind, name } }) => {
      await retention.remove(tenant.id, tinkerPath({ run, kind, name }))
      return { success: true, message: `Checkpoint ${kind}/${name} is deleted.` }
    },
    twinkleWeightsInfo: async ({ tenant, body }) => {
      const checkpoint = await checkpoints.find(tenant.id, body.twinkle_path)
      const { run, base_model, tenant: model_owner, rank } = checkpoint
      return { training_run_id: run, base_model, model_owner, is_lora: true, lora_rank: rank }
    },
    // Not a place on our disk: nobody but this server could use it there, and `load` takes this.
    twinkleCheckpointPath: async ({ tenant, params: { run_id: run, kind, name } }) => {
      const path = twinklePath(await checkpoints.find(tenant.id, tinkerPath({ run, kind, name })))
      return { path, twinkle_path: path }
    },
  } satisfies Partial<TwinkleHandlers>
}
