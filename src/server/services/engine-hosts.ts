// The base models whose work this server carries out: begins on the journal when it gets an engine, hears of what other
// servers acknowledge, and leaves the rest to the journal when it loses the engine. Knows who carries out what; engines are
// base-models.ts's, leases engine-leases.ts's.

import type { Journal } from '../store/journal.ts'
import type { Signals } from '../store/signals.ts'
import type { BaseModels } from './base-models.ts'
import type { Draws } from './draws.ts'
import { staysInJournal } from './engine-loss.ts'
import type { Futures } from './futures.ts'
import { isDatabaseTrouble, type Patience } from './patience.ts'
import type { RunLanes } from './run-lanes.ts'
import type { Sampling } from './sampling.ts'
import type { Sessions } from './sessions.ts'
import type { Tenure } from './tenure.ts'

export interface EngineHostParts {
  readonly journal: Journal
  readonly futures: Futures
  readonly patience: Patience
  readonly sessions: Sessions
  readonly signals: Signals
  readonly models: BaseModels
  readonly lanes: RunLanes
  readonly draws: Draws
  readonly sampling: Sampling
  readonly log: (cause: unknown, id: string | null) => void
}

interface Hosted {
  readonly baseModel: string
  readonly tenure: Tenure
  /** What is heard is acted on one after the other, in the order in which it became true. */
  intake: Promise<void>
  /** Nothing is heard any more. */
  readonly over: AbortController
}

export class EngineHosts {
  readonly #parts: EngineHostParts
  readonly #hosted = new Map<string, Hosted>()

  constructor(parts: EngineHostParts) {
    this.#parts = parts
    const { signals, sessions, lanes, draws } = parts
    signals.on('work', ({ baseModel, id, seq }, isOwn) => {
      if (!isOwn || seq === 0) this.#hear(this.#hosted.get(baseModel), (host) => this.#takeUpOne(host, id))
    })
    signals.on('refused', ({ baseModel, run, seq }) => {
      this.#hear(this.#hosted.get(baseModel), async () => lanes.skip({ id: run, base_model: baseModel }, seq))
    })
    signals.on('cancelled', (id) => this.#hearAll(async () => draws.cancel(id)))
    signals.onGap(() => this.#hearAll((host) => this.#takeUpAll(host)))
    sessions.onEnd((session) => this.#hearAll(({ baseModel }) => lanes.releaseSession(baseModel, session)))
  }

  /** The engine is open. Takes up what was acknowledged before, and from now on what other servers acknowledge. */
  async begin(baseModel: string, tenure: Tenure): Promise<void> {
    const { lanes, draws } = this.#parts
    lanes.begin(baseModel, tenure)
    draws.begin(baseModel, tenure)
    const host: Hosted = { baseModel, tenure, intake: Promise.resolve(), over: new AbortController() }
    this.#hosted.set(baseModel, host)
    const begun = this.#takeUpAll(host)
    host.intake = begun.catch(() => {})
    await begun
  }

  /** Ends the work of a tenure that is over. Until it has settled, this server must not get the model again. */
  async end(baseModel: string): Promise<void> {
    const { futures, models, lanes, draws } = this.#parts
    const host = this.#hosted.get(baseModel)
    this.#hosted.delete(baseModel)
    host?.over.abort()
    await models.dismiss(baseModel)
    await host?.intake
    await Promise.all([lanes.end(baseModel), draws.end(baseModel)])
    if (host) futures.abandon(host.tenure)
  }

  /** From now on what others acknowledge is left to them. */
  async stopHearing(): Promise<void> {
    const hosts = [...this.#hosted.values()]
    this.#hosted.clear()
    for (const { over } of hosts) over.abort()
    await Promise.all(hosts.map(({ intake }) => intake))
  }

  #hearAll(act: (host: Hosted) => Promise<void>): void {
    for (const host of this.#hosted.values()) this.#hear(host, act)
  }

  /** A fact is heard once: while the database does not answer, what it means waits. */
  #hear(host: Hosted | undefined, act: (host: Hosted) => Promise<void>): void {
    if (!host) return
    const { patience, log } = this.#parts
    const waiting = { id: null, isWorthIt: isDatabaseTrouble, signal: host.over.signal }
    const acted = host.intake.then(() => patience.outlast(() => act(host), waiting))
    host.intake = acted.catch((cause) => {
      if (!staysInJournal(cause)) log(cause, null)
    })
  }

  async #takeUpOne({ baseModel, tenure }: Hosted, id: string): Promise<void> {
    const { journal, lanes, sampling } = this.#parts
    const row = await journal.open(id)
    if (row?.kind === 'sample') await sampling.takeUp(baseModel, tenure, [row])
    else if (row) await lanes.takeUpOne(tenure, row)
  }

  async #takeUpAll({ baseModel, tenure }: Hosted): Promise<void> {
    const { journal, lanes, sampling } = this.#parts
    const rows = await journal.unfinished(baseModel)
    const [samples, others] = [rows.filter(isSample), rows.filter((row) => !isSample(row))]
    await lanes.takeUp(baseModel, tenure, others)
    await sampling.takeUp(baseModel, tenure, samples)
  }
}

const isSample = ({ kind }: { kind: string }) => kind === 'sample'
