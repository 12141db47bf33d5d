// Samples whose caller waits for them on an open connection (OpenAI's routes), without an id to come back with. They take the
// way of all samples, through the journal: limits, turns, the ledger and engines in other servers are the same. What differs
// is the end of the caller: when it goes away, its samples are cancelled and their rows in the engine are free.

import type { SampleCall, SampleReply } from '../calls.ts'
import { failedWith, serviceError } from '../errors.ts'
import { decodeSampleReply } from '../wire/reply.ts'
import type { Futures } from './futures.ts'
import type { NewTokens } from './generation.ts'
import type { Sampling } from './sampling.ts'

/** Timers cannot be set for longer than about 24 days. */
const LONGEST_HOLD_MS = 20 * 86_400_000

export interface Held {
  /** In the order of the calls. Rejects with what the first failure was; the others are cancelled then. */
  readonly replies: Promise<readonly SampleReply[]>
}

export class HeldSamples {
  readonly #sampling: Sampling
  readonly #futures: Futures
  readonly #log: (cause: unknown, id: string | null) => void
  constructor(sampling: Sampling, futures: Futures, log: (cause: unknown, id: string | null) => void) {
    this.#sampling = sampling
    this.#futures = futures
    this.#log = log
  }

  /**
   * Submits all of the calls, or none of them stays. Throws what submitting one throws; from then on failures are the
   * replies'. `onTokens` is told of the tokens of call `i` as they are drawn, where the engine is in this server.
   */
  async begin(
    tenant: string,
    calls: readonly SampleCall[],
    signal: AbortSignal,
    onTokens?: (call: number, tokens: NewTokens) => void,
  ): Promise<Held> {
    const others = new AbortController()
    const either = AbortSignal.any([signal, others.signal])
    const replies: Promise<SampleReply>[] = []
    try {
      for (const [i, call] of calls.entries()) {
        const listener = onTokens && ((tokens: NewTokens) => onTokens(i, tokens))
        const { requestId } = await this.#sampling.sample(tenant, { ...call, isHeld: true }, listener)
        const reply = this.#reply(tenant, requestId, either)
        // It may fail while the next one is submitted, when nobody waits for it yet.
        reply.catch(() => {})
        replies.push(reply)
      }
    } catch (cause) {
      others.abort()
      await Promise.allSettled(replies)
      throw cause
    }
    const all = Promise.all(replies)
    // Whoever waits for them hears of it; who does not wait yet must not end the process.
    all.catch(() => others.abort())
    return { replies: all }
  }

  async #reply(tenant: string, id: string, signal: AbortSignal): Promise<SampleReply> {
    const future = await this.#futures.retrieve(tenant, id, LONGEST_HOLD_MS, signal)
    if (future.state === 'done') return decodeSampleReply(future.bytes)
    if (future.state === 'failed') throw failedWith(future.error)
    await this.#sampling.cancel(tenant, id).catch((cause) => this.#log(cause, id))
    throw signal.aborted ? serviceError('CANCELLED', { what: 'The sample' }) : serviceError('SHUTTING_DOWN')
  }
}
