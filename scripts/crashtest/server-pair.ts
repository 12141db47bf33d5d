// Two real servers on one PostgreSQL database and one state folder, behind a proxy that sends each request to the other one
// of them. They are there to be killed and paused. Knows processes and who has the engines; nothing of what is asked.

import { setTimeout as sleep } from 'node:timers/promises'
import type { Kysely } from 'kysely'
import { openDatabase } from '../../src/server/store/database.ts'
import type { Database } from '../../src/server/store/schema.ts'
import { MortalServer } from './mortal-server.ts'
import { TurningProxy } from './turning-proxy.ts'

const LEASE_SECONDS = 3
const LOOK_MS = 50
const TAKEOVER_LIMIT_MS = 120_000

export interface PairPlace {
  readonly database: string
  readonly stateDir: string
}

export class ServerPair {
  readonly db: Kysely<Database>
  readonly #servers: readonly MortalServer[]
  readonly #addresses = new Map<MortalServer, string>()
  readonly #proxy = new TurningProxy(() => [...this.#addresses.values()])

  private constructor(db: Kysely<Database>, servers: readonly MortalServer[]) {
    this.db = db
    this.#servers = servers
  }

  /** `args` follow `twinkle serve`, at both. */
  static async open({ database, stateDir }: PairPlace, args: readonly string[]): Promise<ServerPair> {
    const place = ['--database', database, '--state-dir', stateDir, '--lease-seconds', String(LEASE_SECONDS)]
    const db = await openDatabase({ database, stateDir })
    return new ServerPair(db, [new MortalServer([...place, ...args]), new MortalServer([...place, ...args])])
  }

  /** Where both answer, in turn. The first one has the engines. */
  async start(): Promise<string> {
    for (const server of this.#servers) await this.rise(server)
    return this.#proxy.start()
  }

  async rise(server: MortalServer): Promise<void> {
    this.#addresses.set(server, await server.start())
  }

  /** Killed without warning. */
  async fall(server: MortalServer): Promise<void> {
    this.#addresses.delete(server)
    await server.fall()
  }

  /** Ended in order: its engines are handed over. */
  async end(server: MortalServer): Promise<void> {
    this.#addresses.delete(server)
    await server.stop()
  }

  /** The one that has all engines, once there is one. */
  async owner(): Promise<MortalServer> {
    const limit = Date.now() + TAKEOVER_LIMIT_MS
    while (Date.now() < limit) {
      const server = await this.#ownerNow()
      if (server) return server
      await sleep(LOOK_MS)
    }
    throw new Error('nobody has all the engines')
  }

  async #ownerNow(): Promise<MortalServer | undefined> {
    const leases = await this.db.selectFrom('engine_leases').select('owner').execute()
    const holds = ({ pid }: MortalServer) => leases.every(({ owner }) => owner?.split('/')[1] === String(pid))
    return this.#servers.find(holds)
  }

  /** Settles when `server` has lost the engines to the other one. */
  async takenFrom(server: MortalServer): Promise<void> {
    const limit = Date.now() + TAKEOVER_LIMIT_MS
    while ((await this.owner()) === server) {
      if (Date.now() > limit) throw new Error('nobody took the engines over')
      await sleep(LOOK_MS)
    }
  }

  other(server: MortalServer): MortalServer {
    return this.#servers.find((one) => one !== server) as MortalServer
  }

  /** Requests passed on, by server. */
  get passed(): number[] {
    return [...this.#proxy.passed.values()]
  }

  /** Both in order. */
  async stop(): Promise<void> {
    for (const server of this.#servers) await this.end(server)
  }

  async destroy(): Promise<void> {
    await this.#proxy.stop().catch(() => {})
    for (const server of this.#servers) {
      server.resume()
      await server.destroy()
    }
    await this.db.destroy()
  }
}
