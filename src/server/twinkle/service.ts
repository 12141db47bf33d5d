// What the server is and has: health, capacity, base models, sessions.

import type { Services } from '../services/services.ts'
import type { TwinkleHandlers } from './handlers.ts'

export function serviceHandlers({ models, capacity, sessions, twinkleOwners }: Services) {
  const healthOf = (name: string) =>
    models.isRestarting(name)
      ? { healthy: false, status_code: 503, detail: `The engine of ${name} is being opened again.` }
      : { healthy: true, status_code: 200 }
  return {
    twinkleHealthz: async () => ({ status: 'ok' }),
    twinkleDeepHealth: async () => {
      const entries = models.names().map((name) => [name, healthOf(name)] as const)
      const healthy = entries.every(([, health]) => health.healthy)
      return { status: healthy ? 200 : 503, json: { healthy, models: Object.fromEntries(entries) } }
    },
    modelHealthz: async ({ params }) => {
      const health = healthOf(models.get(params.base).name)
      return { status: health.status_code, json: health }
    },
    twinkleStatus: async ({ tenant }) => ({
      resources: await capacity.resources(tenant.id),
      cleanup: { running: true, expiration_timeout: sessions.timeoutSeconds },
    }),
    twinkleCapacity: async ({ tenant }) => {
      const { most, used } = await capacity.adapters(tenant.id)
      return { max_loras: most, used_loras: used, free_loras: Math.max(0, most - used) }
    },
    twinkleCapabilities: async () => ({
      supported_models: models.names().map((name) => ({ model_name: name })),
    }),
    twinkleCreateSession: async ({ tenant, body }) => ({
      session_id: await twinkleOwners.open({ tenant: tenant.id, key: tenant.key }, body.metadata ?? {}),
    }),
    twinkleSessionHeartbeat: async ({ tenant, body }) => {
      await sessions.heartbeat(tenant.id, body.session_id)
      return {}
    },
  } satisfies Partial<TwinkleHandlers>
}
