// How servers that share a database share the engines of the base models: whoever has the lease of a model opens its engine
// and carries out its work; the others wait for the lease to be released, or to run out. A paused server that comes to
// itself finds its lease gone and lets go. Knows when; what there is to begin and to end is engine-hosts.ts's.

import { setTimeout as sleep } from 'node:timers/promises'
import type { Logger } from 'pino'
import type { Signals } from '../store/signals.ts'
import type { BaseModels } from './base-models.ts'
import type { EngineHosts } from './engine-hosts.ts'
import type { EngineLeases, Lease } from './engine-leases.ts'
import type { Engines } from './engines.ts'
import { Watch } from './watch.ts'

export interface EngineShareParts {
  readonly leases: EngineLeases
  readonly signals: Signals
  readonly models: BaseModels
  readonly hosts: EngineHosts
  /** Base models whose engine may be opened in this server. */
  readonly mayHost: (baseModel: string) => boolean
  readonly leaseMs: number
  readonly log: Pick<Logger, 'info' | 'warn' | 'error'>
}

/** After something went wrong with the database. */
const RETRY_MS = 1000

export class EngineShare implements Engines {
  readonly #parts: EngineShareParts
  readonly #closing = new AbortController()
  /** By base model: whoever waits for its lease, or keeps it. */
  readonly #watches = new Map<string, Set<Watch>>()
  readonly #held = new Set<Lease>()
  #striving: readonly Promise<void>[] = []

  constructor(parts: EngineShareParts) {
    this.#parts = parts
    parts.signals.on('lease', (baseModel, isOwn) => isOwn || this.#wake(baseModel))
    parts.signals.onGap(() => {
      for (const baseModel of this.#watches.keys()) this.#wake(baseModel)
    })
  }

  async start(): Promise<void> {
    const served = this.#parts.models.names().map((name) => {
      return new Promise<void>((resolve, reject) => {
        this.#striving = [...this.#striving, this.#strive(name, resolve, reject)]
      })
    })
    await Promise.all(served)
  }

  /**
   * Has the model, waits for it, has it again, until the server closes. Tells when it can be served for the first time, from
   * here or by another server.
   */
  async #strive(baseModel: string, onServed: () => void, onFailed: (cause: unknown) => void): Promise<void> {
    const watch = this.#watch(baseModel)
    const { leases, models, mayHost, log } = this.#parts
    while (!this.#closing.signal.aborted) {
      try {
        const { owner, remainingMs, info } = await leases.look(baseModel)
        if (info) {
          models.learn(baseModel, info)
          onServed()
        }
        const isFree = owner === null || remainingMs === 0
        const lease = isFree && mayHost(baseModel) ? await leases.take(baseModel) : null
        if (lease) await this.#serve(lease, onServed, onFailed)
        else await this.#wait(watch, baseModel, owner, remainingMs, info !== null)
      } catch (err) {
        log.error({ err }, `who has the engine of ${baseModel} could not be found out`)
        await this.#pause(RETRY_MS)
      }
    }
  }

  async #wait(watch: Watch, baseModel: string, owner: string | null, ms: number, isServed: boolean): Promise<void> {
    if (!isServed) this.#parts.log.info(`waiting for ${owner ?? 'a server'} to open the engine of ${baseModel}`)
    // Whoever may not have it waits to hear of it.
    const isForMe = this.#parts.mayHost(baseModel)
    await watch.sleep(isForMe ? Math.max(1, ms) : LONG_MS, this.#closing.signal)
  }

  /** Settles when the lease is over and nothing of its work is left here. */
  async #serve(lease: Lease, onServed: () => void, onFailed: (cause: unknown) => void): Promise<void> {
    const { leases, models, hosts, log } = this.#parts
    const { baseModel } = lease
    this.#held.add(lease)
    void this.#keep(lease)
    try {
      // An engine that is still being opened when the lease is over is not waited for.
      void lease.over.then(() => models.dismiss(baseModel)).catch((err) => log.warn({ err }, 'an engine did not close'))
      const info = await models.open(baseModel)
      await leases.publish(lease, info)
      await hosts.begin(baseModel, lease)
      log.info(`the engine of ${baseModel} is in this server (lease ${lease.fence} of ${lease.owner})`)
      onServed()
      await lease.over
    } catch (err) {
      if (!lease.isOver) await this.#failed(lease, err, onFailed)
    } finally {
      await hosts.end(baseModel)
      this.#held.delete(lease)
    }
  }

  /** Another server may be luckier. */
  async #failed(lease: Lease, err: unknown, onFailed: (cause: unknown) => void): Promise<void> {
    if (!this.#closing.signal.aborted) {
      this.#parts.log.error({ err }, `the engine of ${lease.baseModel} could not be opened here`)
    }
    onFailed(err)
    await this.#giveUp(lease)
    await this.#pause(this.#parts.leaseMs)
  }

  /** Renews it until it is over. */
  async #keep(lease: Lease): Promise<void> {
    const { leases, leaseMs, log } = this.#parts
    const watch = this.#watch(lease.baseModel)
    const never = new AbortController().signal
    let pause = leaseMs / 3
    while (!lease.isOver) {
      await watch.sleep(pause, never)
      if (lease.isOver) break
      try {
        pause = leaseMs / 3
        if (await leases.renew(lease)) continue
        log.warn(`another server has taken over ${lease.baseModel}: its engine here is closed`)
        lease.end()
      } catch (err) {
        pause = Math.min(RETRY_MS, leaseMs / 3)
        log.error({ err }, `the lease of ${lease.baseModel} could not be renewed`)
      }
    }
    this.#watches.get(lease.baseModel)?.delete(watch)
  }

  #watch(baseModel: string): Watch {
    const watch = new Watch()
    const others = this.#watches.get(baseModel)
    if (others) others.add(watch)
    else this.#watches.set(baseModel, new Set([watch]))
    return watch
  }

  #wake(baseModel: string): void {
    for (const watch of this.#watches.get(baseModel) ?? []) watch.wake()
  }

  async #pause(ms: number): Promise<void> {
    await sleep(ms, undefined, { signal: this.#closing.signal, ref: false }).catch(() => {})
  }

  async #giveUp(lease: Lease): Promise<void> {
    lease.end()
    this.#wake(lease.baseModel)
    await this.#parts.leases.release(lease).catch((err) => {
      this.#parts.log.warn({ err }, `the lease of ${lease.baseModel} is left to run out`)
    })
  }

  stop(): void {
    this.#closing.abort()
  }

  async release(): Promise<void> {
    await Promise.all([...this.#held].map((lease) => this.#giveUp(lease)))
    await Promise.all(this.#striving)
  }
}

/** Signals end it before. */
const LONG_MS = 60_000
