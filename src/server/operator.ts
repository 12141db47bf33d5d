// The operator's routes: is it alive, and its numbers for Prometheus.

import { collectDefaultMetrics, Gauge, Registry } from 'prom-client'
import type { Handlers } from './http/router.ts'
import type { Services } from './services/services.ts'

export function operatorHandlers(registry: Registry): Handlers<'liveness' | 'metrics'> {
  return {
    liveness: async () => ({ status: 'ok' }),
    metrics: async () => ({
      contentType: registry.contentType,
      bytes: new TextEncoder().encode(await registry.metrics()),
    }),
  }
}

export function serverRegistry({ futures, lanes, draws, models }: Services): Registry {
  const registry = new Registry()
  collectDefaultMetrics({ register: registry })
  const gauge = (name: string, help: string, read: () => number) =>
    new Gauge({ name, help, registers: [registry], collect: gaugeReader(read) })
  gauge('twinkle_futures_pending', 'Acknowledged operations that have not ended.', () => futures.pending)
  gauge('twinkle_training_waiting', 'Operations on training runs that wait for their turn.', () => lanes.waiting)
  gauge('twinkle_samples_running', 'Sample requests in the engines.', () => draws.running)
  engineGauges(registry, models)
  return registry
}

function gaugeReader(read: () => number) {
  return function (this: Gauge) {
    this.set(read())
  }
}

function engineGauges(registry: Registry, models: Services['models']): void {
  const kinds = {
    rssBytes: ['twinkle_engine_resident_bytes', 'Resident memory of an engine.'],
    adapters: ['twinkle_engine_adapters', 'Trainable adapters in an engine.'],
    snapshots: ['twinkle_engine_snapshots', 'Frozen adapters in an engine.'],
    trainedTokens: [
      'twinkle_engine_trained_tokens',
      'Tokens that went through training passes since the engine opened.',
    ],
    sampledTokens: ['twinkle_engine_sampled_tokens', 'Tokens drawn since the engine opened.'],
  } as const
  for (const [key, [name, help]] of Object.entries(kinds)) {
    new Gauge({
      name,
      help,
      labelNames: ['model'] as const,
      registers: [registry],
      async collect() {
        for (const model of models.names()) {
          // An engine that is gone, or in another server, has no numbers here.
          const { engine } = models.get(model)
          const status = await engine?.status().catch(() => null)
          if (status) this.set({ model }, status[key as keyof typeof kinds])
          else this.remove({ model })
        }
      },
    })
  }
}
