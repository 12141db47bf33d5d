// Futures: what a client gets for a submitted operation. Waiting is an event: whoever waits is woken in the tick in which
// the result became durable, or in which this server hears that another one made it so. The only timer is the limit of one
// held request.

import type { EngineFailure } from '../../backends/backend.ts'
import type { Reply } from '../calls.ts'
import { serviceError, toServiceError } from '../errors.ts'
import type { Finished, Journal, OperationRow } from '../store/journal.ts'
import type { Signals } from '../store/signals.ts'
import { encodeReply } from '../wire/reply.ts'
import type { Patience } from './patience.ts'
import { type Tenure, TenureOver } from './tenure.ts'
import { Watch } from './watch.ts'

export type FutureState =
  | { readonly state: 'pending' }
  | { readonly state: 'done'; readonly type: Reply['type']; readonly bytes: Uint8Array }
  | { readonly state: 'failed'; readonly error: EngineFailure }

type Also = Parameters<Journal['finish']>[1]

/** An operation that this server is to end. */
interface Open {
  /** The time within which it may. */
  readonly tenure: Tenure
  /** It was carried out, or is. */
  isStarted: boolean
}

export class Futures {
  readonly #journal: Journal
  readonly #open = new Map<string, Open>()
  /** Whoever waits for an operation, whichever server ends it. */
  readonly #watches = new Map<string, Set<Watch>>()
  readonly #enders: ((id: string) => void)[] = []
  readonly #patience: Patience
  readonly #log: (cause: unknown, id: string) => void
  #isEnding = false
  constructor(journal: Journal, signals: Signals, patience: Patience, log: (cause: unknown, id: string) => void) {
    this.#journal = journal
    this.#patience = patience
    this.#log = log
    signals.on('ended', (id, isOwn) => isOwn || this.#tell(id))
    signals.onGap(() => this.#wakeAll())
  }

  get pending(): number {
    return this.#open.size
  }

  /** Starts and ends of operations that could not be written down yet. */
  get late(): number {
    return this.#patience.late
  }

  /** Requests that are held. */
  get waiting(): number {
    let count = 0
    for (const watches of this.#watches.values()) count += watches.size
    return count
  }

  /** Called when an operation's end is durable, before those who wait are woken. */
  onEnd(listener: (id: string) => void): void {
    this.#enders.push(listener)
  }

  /** This server takes up an acknowledged operation. False when it has done so already. */
  open(id: string, tenure: Tenure): boolean {
    if (this.#open.has(id)) return false
    this.#open.set(id, { tenure, isStarted: false })
    return true
  }

  /** It has ended without this server. */
  drop(id: string): void {
    this.#open.delete(id)
  }

  /** What has not ended is another server's to end. */
  abandon(tenure: Tenure): void {
    for (const [id, open] of this.#open) if (open.tenure === tenure) this.#open.delete(id)
  }

  async resolve(id: string, reply: Reply, plan?: unknown, also?: Also): Promise<void> {
    await this.#settle({ id, result: { type: reply.type, bytes: encodeReply(reply) }, plan }, also)
  }

  async reject(id: string, cause: unknown, also?: Also): Promise<void> {
    const { code, category, message } = toServiceError(cause)
    if (category === 'server') this.#log(cause, id)
    await this.#settle({ id, error: { code, category, message } }, also)
  }

  /** The server closes: what could not be written down until now is done again at its next start. */
  stopRecording(): void {
    this.#patience.end()
  }

  /**
   * Never throws. Nobody hears of an end that is not written down, for after a crash it might be another one: while the
   * disk fails, whoever waits goes on waiting.
   */
  async #settle(finished: Finished, also?: Also): Promise<void> {
    const open = this.#open.get(finished.id)
    if (!open) return
    const { tenure, isStarted } = open
    try {
      await this.#recorded(finished.id, () => this.#journal.finish({ ...finished, isStarted }, also, tenure))
    } catch {
      return
    }
    this.#open.delete(finished.id)
    this.#tell(finished.id)
  }

  /**
   * Records that these are carried out now, in this order. Gives those that have not ended. What was acknowledged does not
   * fail because the disk does: it waits. Throws TenureOver, and ENGINE_CLOSED when the server closes meanwhile.
   */
  async start(ids: readonly string[], tenure: Tenure): Promise<string[]> {
    if (!ids.length) return []
    const started = await this.#recorded(ids[0] as string, () => this.#journal.start(ids, tenure))
    for (const id of started) {
      const open = this.#open.get(id)
      if (open) open.isStarted = true
    }
    return started
  }

  /** Tries until it is written. Throws TenureOver, and ENGINE_CLOSED when the server closes. */
  #recorded<T>(id: string, write: () => Promise<T>): Promise<T> {
    return this.#patience.outlast(write, { id, isWorthIt: (cause) => !(cause instanceof TenureOver), isRecord: true })
  }

  #tell(id: string): void {
    for (const listener of this.#enders) listener(id)
    for (const watch of this.#watches.get(id) ?? []) watch.wake()
  }

  /** Answers everybody who waits that it is not done yet; the server is closing. */
  endWaiting(): void {
    this.#isEnding = true
    this.#wakeAll()
  }

  #wakeAll(): void {
    for (const watches of this.#watches.values()) for (const watch of watches) watch.wake()
  }

  /**
   * The state of a tenant's future, held until it ends, `holdMs` pass or `signal` aborts.
   * Unknown ids, and those of other tenants, throw UNKNOWN_FUTURE.
   */
  async retrieve(tenant: string, id: string, holdMs: number, signal: AbortSignal): Promise<FutureState> {
    const watch = this.#watch(id)
    const limit = performance.now() + holdMs
    try {
      for (;;) {
        const row = await this.#row(tenant, id)
        if (row.finished_at !== null) return await this.#ended(row)
        if (this.#isEnding || !(await watch.sleep(limit - performance.now(), signal))) return { state: 'pending' }
      }
    } finally {
      this.#unwatch(id, watch)
    }
  }

  #watch(id: string): Watch {
    const watch = new Watch()
    const others = this.#watches.get(id)
    if (others) others.add(watch)
    else this.#watches.set(id, new Set([watch]))
    return watch
  }

  #unwatch(id: string, watch: Watch): void {
    const watches = this.#watches.get(id)
    watches?.delete(watch)
    if (watches?.size === 0) this.#watches.delete(id)
  }

  async #row(tenant: string, id: string): Promise<OperationRow> {
    const row = await this.#journal.find(tenant, id)
    if (!row) throw serviceError('UNKNOWN_FUTURE', { id })
    return row
  }

  async #ended(row: OperationRow): Promise<FutureState> {
    if (row.result_type === 'expired') throw serviceError('ANSWER_EXPIRED', { id: row.id })
    if (row.delivered_at === null) this.#journal.delivered(row.id)
    if (row.state === 'done') return this.#answer(row, row.result_type ?? 'json')
    return {
      state: 'failed',
      error: {
        code: row.error_code ?? 'INTERNAL',
        category: row.error_category ?? 'server',
        message: row.error_message ?? '',
      },
    }
  }

  /** One that is lost is a failure: asked again, it would be as lost. */
  async #answer(row: OperationRow, type: Reply['type']): Promise<FutureState> {
    try {
      return { state: 'done', type, bytes: await this.#journal.resultOf(row) }
    } catch (cause) {
      const { code, category, message } = toServiceError(cause)
      if (code !== 'ANSWER_LOST') throw cause
      this.#log(cause, row.id)
      return { state: 'failed', error: { code, category, message } }
    }
  }
}
