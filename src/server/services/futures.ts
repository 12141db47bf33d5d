// Futures: what a client gets for a submitted operation. Waiting is an event: whoever waits is woken in the tick in which
// the result became durable. The only timer is the limit of one held request.

import { setTimeout } from 'node:timers/promises'
import type { EngineFailure } from '../../backends/backend.ts'
import type { Reply } from '../calls.ts'
import { serviceError, toServiceError } from '../errors.ts'
import type { Finished, Journal, OperationRow } from '../store/journal.ts'
import { encodeReply } from '../wire/reply.ts'

export type FutureState =
  | { readonly state: 'pending' }
  | { readonly state: 'done'; readonly type: Reply['type']; readonly bytes: Uint8Array }
  | { readonly state: 'failed'; readonly error: EngineFailure }

const FIRST_PAUSE_MS = 250
const LONGEST_PAUSE_MS = 30_000

type Also = Parameters<Journal['finish']>[1]

export class Futures {
  readonly #journal: Journal
  /** Operations that have not ended, with the wake-up calls of those who wait. */
  readonly #live = new Map<string, Set<() => void>>()
  readonly #enders: ((id: string) => void)[] = []
  readonly #stop = new AbortController()
  readonly #log: (cause: unknown, id: string) => void
  constructor(journal: Journal, log: (cause: unknown, id: string) => void) {
    this.#journal = journal
    this.#log = log
  }

  get pending(): number {
    return this.#live.size
  }

  /** Called when an operation's end is durable, before those who wait are woken. */
  onEnd(listener: (id: string) => void): void {
    this.#enders.push(listener)
  }

  /** Makes an acknowledged operation awaitable. */
  open(id: string): void {
    this.#live.set(id, new Set())
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
    this.#stop.abort()
  }

  /**
   * Never throws. Nobody hears of an end that is not written down, for after a crash it might be another one: while the
   * disk fails, whoever waits goes on waiting.
   */
  async #settle(finished: Finished, also?: Also): Promise<void> {
    for (let pauseMs = FIRST_PAUSE_MS; ; pauseMs = Math.min(LONGEST_PAUSE_MS, 2 * pauseMs)) {
      try {
        await this.#journal.finish(finished, also)
        break
      } catch (cause) {
        this.#log(cause, finished.id)
        if (this.#stop.signal.aborted) return
        await setTimeout(pauseMs, undefined, { ref: false, signal: this.#stop.signal }).catch(() => {})
      }
    }
    for (const listener of this.#enders) listener(finished.id)
    const waiters = this.#live.get(finished.id)
    this.#live.delete(finished.id)
    for (const wake of waiters ?? []) wake()
  }

  /** Answers everybody who waits that it is not done yet; the server is closing. */
  endWaiting(): void {
    for (const waiters of this.#live.values()) for (const wake of [...waiters]) wake()
  }

  /**
   * The state of a tenant's future, held until it ends, `holdMs` pass or `signal` aborts.
   * Unknown ids, and those of other tenants, throw UNKNOWN_FUTURE.
   */
  async retrieve(tenant: string, id: string, holdMs: number, signal: AbortSignal): Promise<FutureState> {
    const row = await this.#row(tenant, id)
    const waiters = this.#live.get(id)
    if (!waiters) return this.#ended(row.finished_at === null ? await this.#row(tenant, id) : row)
    await new Promise<void>((resolve) => {
      const done = () => {
        clearTimeout(timer)
        signal.removeEventListener('abort', done)
        waiters.delete(done)
        resolve()
      }
      const timer = globalThis.setTimeout(done, holdMs)
      signal.addEventListener('abort', done)
      waiters.add(done)
      if (signal.aborted) done()
    })
    if (this.#live.has(id)) return { state: 'pending' }
    return this.#ended(await this.#row(tenant, id))
  }

  async #row(tenant: string, id: string): Promise<OperationRow> {
    const row = await this.#journal.find(tenant, id)
    if (!row) throw serviceError('UNKNOWN_FUTURE', { id })
    return row
  }

  async #ended(row: OperationRow): Promise<FutureState> {
    if (row.result_type === 'expired') throw serviceError('ANSWER_EXPIRED', { id: row.id })
    if (row.finished_at !== null && row.delivered_at === null) this.#journal.delivered(row.id)
    if (row.state === 'done') {
      return { state: 'done', type: row.result_type ?? 'json', bytes: await this.#journal.resultOf(row) }
    }
    if (row.state !== 'failed') return { state: 'pending' }
    return {
      state: 'failed',
      error: {
        code: row.error_code ?? 'INTERNAL',
        category: row.error_category ?? 'server',
        message: row.error_message ?? '',
      },
    }
  }
}
