// Sessions: open, heartbeat, finish, project.

import type { Services } from '../services/services.ts'
import type { TinkerHandlers } from './handlers.ts'

export function sessionHandlers({ sessions }: Services) {
  return {
    createSession: async ({ tenant, body }) => ({
      session_id: await sessions.create(tenant.id, {
        tags: body.tags ?? [],
        userMetadata: body.user_metadata ?? {},
        sdkVersion: body.sdk_version ?? null,
        projectId: body.project_id ?? null,
        displayName: body.display_name ?? null,
        apiKey: tenant.key,
      }),
      type: 'create_session',
    }),
    // SESSION_OVER is a 410, which ends the SDK's heartbeats.
    sessionHeartbeat: async ({ tenant, body }) => {
      await sessions.heartbeat(tenant.id, body.session_id)
      return { type: 'session_heartbeat' }
    },
    finishSession: async ({ tenant, params, body }) => {
      await sessions.finish(tenant.id, params.session_id, body.reason.type, body.detail ?? null)
      return {}
    },
    assignSessionProject: async ({ tenant, params, body }) =>
      sessions.assignProject(tenant.id, params.session_id, body.project_id),
  } satisfies Partial<TinkerHandlers>
}
