// Looking at training runs and checkpoints, and what their owner may do with them.

import { tinkerPath } from '../services/checkpoints.ts'
import type { Services } from '../services/services.ts'
import type { TinkerHandlers } from './handlers.ts'
import { checkpointRecord, cursorOf, runRecord } from './records.ts'

export function checkpointHandlers({ catalog, checkpoints, retention }: Services) {
  return {
    listTrainingRuns: async ({ tenant, query }) => {
      const { limit, offset, access_scope: scope, project_id } = query
      const filter = project_id === undefined ? {} : { projectId: project_id }
      const page = await catalog.runs(tenant.id, { limit, offset, scope, ...filter })
      return { training_runs: page.rows.map(runRecord), cursor: cursorOf(page) }
    },
    getTrainingRun: async ({ tenant, params, query }) =>
      runRecord(await catalog.run(tenant.id, params.run, query.access_scope)),
    listCheckpoints: async ({ tenant, params }) => {
      const rows = await catalog.checkpointsOf(tenant.id, params.run)
      return { checkpoints: rows.map(checkpointRecord) }
    },
    listUserCheckpoints: async ({ tenant, query }) => {
      const page = await catalog.checkpoints(tenant.id, query)
      return { checkpoints: page.rows.map(checkpointRecord), cursor: cursorOf(page) }
    },
    deleteCheckpoint: async ({ tenant, params }) => retention.remove(tenant.id, tinkerPath(params)),
    setCheckpointTtl: async ({ tenant, params, body }) =>
      retention.setTtl(tenant.id, tinkerPath(params), body.ttl_seconds),
    publishCheckpoint: async ({ tenant, params }) => checkpoints.setPublished(tenant.id, tinkerPath(params), true),
    unpublishCheckpoint: async ({ tenant, params }) => checkpoints.setPublished(tenant.id, tinkerPath(params), false),
  } satisfies Partial<TinkerHandlers>
}
