// The state of a server in numbers for Prometheus: what waits, engines, event loop, what is on disk. Read when somebody asks.

import { collectDefaultMetrics, Gauge, type Registry } from 'prom-client'
import type { Services } from '../services/services.ts'
import { type StateFacts, stateSizes } from '../store/state-facts.ts'

/** Sizes are counted file by file, so not at every scrape. */
const SIZES_FRESH_MS = 60_000

export function serverMetrics(registry: Registry, services: Services, stateDir: string): void {
  collectDefaultMetrics({ register: registry })
  const { futures, lanes, draws } = services
  const gauge = (name: string, help: string, read: () => number) =>
    new Gauge({
      name,
      help,
      registers: [registry],
      collect() {
        this.set(read())
      },
    })
  gauge('twinkle_futures_pending', 'Acknowledged operations that this server has not ended.', () => futures.pending)
  gauge('twinkle_futures_waited_for', 'Requests that are held until an operation ends.', () => futures.waiting)
  gauge('twinkle_training_waiting', 'Operations on training runs that wait for their turn.', () => lanes.waiting)
  gauge('twinkle_samples_running', 'Sample requests in the engines.', () => draws.running)
  gauge('twinkle_samples_waiting', 'Sample requests that wait for their turn.', () => draws.waiting)
  queueGauges(registry, services)
  engineGauges(registry, services)
  sizeGauges(registry, services, stateDir)
}

function queueGauges(registry: Registry, { queue }: Services): void {
  const labelNames = ['model', 'kind'] as const
  const lines = {
    running: ['twinkle_queue_running', 'Operations in the engine, by model and kind of work.'],
    waiting: ['twinkle_queue_waiting', 'Operations before the engine, by model and kind of work.'],
    tenants: ['twinkle_queue_tenants', 'Tenants with anything running or waiting, by model and kind of work.'],
    tokensPerSecond: ['twinkle_queue_tokens_per_second', 'Throughput of late, by model and kind of work.'],
  } as const
  for (const [key, [name, help]] of Object.entries(lines)) {
    new Gauge({
      name,
      help,
      labelNames,
      registers: [registry],
      collect() {
        this.reset()
        for (const line of queue.snapshot({ limit: 0 }).lines) {
          this.set({ model: line.baseModel, kind: line.kind }, line[key as keyof typeof lines] ?? 0)
        }
      },
    })
  }
}

function engineGauges(registry: Registry, { models }: Services): void {
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
  const labelNames = ['model'] as const
  for (const [key, [name, help]] of Object.entries(kinds)) {
    new Gauge({
      name,
      help,
      labelNames,
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
  const losses = new Gauge({
    name: 'twinkle_engine_losses',
    help: 'Engines of this server that were lost since it started, by model.',
    labelNames,
    registers: [registry],
  })
  for (const model of models.names()) losses.set({ model }, 0)
  models.onLost((model) => losses.inc({ model }))
}

function sizeGauges(registry: Registry, { db }: Services, stateDir: string): void {
  let last: { at: number; sizes: Promise<StateFacts['bytes']> } | null = null
  const sizes = () => {
    if (!last || last.at < Date.now() - SIZES_FRESH_MS) {
      const taken = { at: Date.now(), sizes: stateSizes(db, stateDir) }
      last = taken
      // One look that failed is not everybody's for a minute.
      taken.sizes.catch(() => {
        if (last === taken) last = null
      })
    }
    return last.sizes
  }
  new Gauge({
    name: 'twinkle_state_bytes',
    help: 'On disk, at most a minute ago: part is database, blobs (large calls and answers) or adapters (checkpoints and restart points).',
    labelNames: ['part'] as const,
    registers: [registry],
    async collect() {
      for (const [part, bytes] of Object.entries(await sizes())) this.set({ part }, bytes)
    },
  })
}
