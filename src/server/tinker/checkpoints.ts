// Looking at training runs and checkpoints, and what their owner may do with them.

import type { IncomingHttpHeaders } from 'node:http'
import { originOf } from '../http/origin.ts'
import { tinkerPath } from '../services/checkpoints.ts'
import { ARCHIVE } from '../services/downloads.ts'
import type { Services } from '../services/services.ts'
import type { TinkerHandlers } from './handlers.ts'
import { checkpointRecord, cursorOf, isoTime, runRecord } from './records.ts'

const KINDS = ['weights', 'sampler_weights', 'external_weights'] as const

/** SDKs before 0.28 cannot read a list with external weights in it; whoever names no version is taken for a new one. */
function kindsFor(headers: IncomingHttpHeaders) {
  const [, minor] = /^0\.(\d+)\./.exec(`${headers['x-stainless-package-version'] ?? ''}`) ?? []
  return minor !== undefined && Number(minor) < 28 ? KINDS.slice(0, 2) : KINDS
}

export function checkpointHandlers({ catalog, checkpoints, downloads, retention, weightsAccess }: Services) {
  const checkpointsOf = async (tenant: string, run: string, headers: IncomingHttpHeaders) => {
    const rows = await catalog.checkpointsOf(tenant, run, kindsFor(headers))
    return { checkpoints: rows.map(checkpointRecord) }
  }
  return {
    listTrainingRuns: async ({ tenant, query }) => {
      const { limit, offset, access_scope: scope, project_id } = query
      const filter = project_id === undefined ? {} : { projectId: project_id }
      const page = await catalog.runs(tenant.id, { limit, offset, scope, ...filter })
      return { training_runs: page.rows.map(runRecord), cursor: cursorOf(page) }
    },
    getTrainingRun: async ({ tenant, params, query }) =>
      runRecord(await catalog.run(tenant.id, params.run, query.access_scope)),
    listCheckpoints: ({ tenant, params, request }) => checkpointsOf(tenant.id, params.run, request.headers),
    listModelCheckpoints: ({ tenant, params, request }) => checkpointsOf(tenant.id, params.run, request.headers),
    listUserCheckpoints: async ({ tenant, query, request }) => {
      const page = await catalog.checkpoints(tenant.id, kindsFor(request.headers), query)
      return { checkpoints: page.rows.map(checkpointRecord), cursor: cursorOf(page) }
    },
    deleteCheckpoint: async ({ tenant, params }) => retention.remove(tenant.id, tinkerPath(params)),
    setCheckpointTtl: async ({ tenant, params, body }) =>
      retention.setTtl(tenant.id, tinkerPath(params), body.ttl_seconds),
    createWeightsAccessToken: async ({ tenant, params, body }) => {
      const { token, expires } = await weightsAccess.issue(tenant, tinkerPath(params), body.ttl_seconds ?? undefined)
      return { token, expires: isoTime(expires) }
    },
    publishCheckpoint: async ({ tenant, params }) => checkpoints.setPublished(tenant.id, tinkerPath(params), true),
    unpublishCheckpoint: async ({ tenant, params }) => checkpoints.setPublished(tenant.id, tinkerPath(params), false),
    getExternalWeightsUrls: async ({ tenant, params, request }) => {
      const checkpoint = await checkpoints.find(tenant.id, tinkerPath(params))
      const origin = originOf(request.headers)
      const signed = downloads.files(checkpoint).map((file) => ({ file, ...downloads.sign(checkpoint, file) }))
      return {
        urls: Object.fromEntries(signed.map(({ file, path }) => [file, `${origin}${path}`])),
        expires: isoTime(Math.min(...signed.map(({ expires }) => expires))),
      }
    },
    // The redirect is what the oldest SDKs know; later ones take either.
    getCheckpointArchive: async ({ tenant, params, request }) => {
      const checkpoint = await checkpoints.find(tenant.id, tinkerPath(params))
      const { path, expires } = downloads.sign(checkpoint, ARCHIVE)
      const url = `${originOf(request.headers)}${path}`
      const headers = { location: url, expires: new Date(expires).toUTCString() }
      return { status: 302, json: { url, expires: isoTime(expires) }, headers }
    },
  } satisfies Partial<TinkerHandlers>
}
