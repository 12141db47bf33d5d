// The way of a submission into the journal: a tenant may have so many bytes of calls that have not ended, and what is over
// that is told to come again. Counts what this server has acknowledged; knows no call.

import { serviceError } from '../errors.ts'
import type { Journal, NewOperation } from '../store/journal.ts'
import type { Signals } from '../store/signals.ts'
import type { Futures } from './futures.ts'
import type { LimitsOf } from './limits.ts'

interface Call {
  readonly subject: string | null
  /** Its number among those of its subject; 0 = none. */
  readonly seq: number
  readonly bytes: number
}

interface Account {
  readonly calls: Set<Call>
  bytes: number
}

export interface IntakeParts {
  readonly journal: Journal
  readonly futures: Futures
  readonly signals: Signals
  readonly limitsOf: LimitsOf
}

type Append = Journal['append']

export class Intake {
  readonly #journal: Journal
  readonly #limitsOf: LimitsOf
  readonly #accounts = new Map<string, Account>()
  /** By request id: how it is taken off its tenant's account. */
  readonly #ends = new Map<string, () => void>()

  constructor({ journal, futures, signals, limitsOf }: IntakeParts) {
    this.#journal = journal
    this.#limitsOf = limitsOf
    futures.onEnd((id) => this.#end(id))
    // Which of them have ended meanwhile nobody says.
    signals.onGap(() => {
      for (const id of [...this.#ends.keys()]) this.#end(id)
    })
  }

  /** Counts what was acknowledged before this server started. */
  async restore(): Promise<void> {
    for (const { id, tenant, ...call } of await this.#journal.openCalls()) this.#ends.set(id, this.#count(tenant, call))
  }

  /** Bytes of a tenant's calls that have not ended. */
  bytesOf(tenant: string): number {
    return this.#accounts.get(tenant)?.bytes ?? 0
  }

  /** `Journal.append` for those that have room. Throws QUEUE_FULL. */
  async append(operation: NewOperation, also?: Parameters<Append>[1]): ReturnType<Append> {
    const { tenant, subject, seq = 0, payload } = operation
    const call = { subject, seq, bytes: payload.byteLength }
    this.#checkRoom(tenant, call)
    // From now on: others are on their way at the same time.
    const end = this.#count(tenant, call)
    let held: string | undefined
    const undo = () => {
      end()
      if (held !== undefined) this.#ends.delete(held)
    }
    try {
      const appended = await this.#journal.append(operation, async (trx, id) => {
        await also?.(trx, id)
        // Before anybody can end it.
        held = id
        this.#ends.set(id, end)
      })
      if (!appended.isNew) undo()
      // An earlier attempt wrote it, which nobody knew of.
      else if (held === undefined) this.#ends.set(appended.id, end)
      return appended
    } catch (cause) {
      undo()
      throw cause
    }
  }

  #end(id: string): void {
    this.#ends.get(id)?.()
    this.#ends.delete(id)
  }

  #checkRoom(tenant: string, { subject, seq, bytes }: Call): void {
    const limit = this.#limitsOf(tenant).queuedBytes
    const account = this.#accounts.get(tenant)
    if (limit === null || !account || account.bytes + bytes <= limit) return
    // Later numbers of its run may be what fills the account, and wait for this one: it has to get in.
    const isFirst = seq > 0 && ![...account.calls].some((other) => other.subject === subject && other.seq < seq)
    if (!isFirst) throw serviceError('QUEUE_FULL', { held: account.bytes, limit })
  }

  /** Gives what takes the call off the account again; doing that twice changes nothing. */
  #count(tenant: string, call: Call): () => void {
    const account = this.#accounts.get(tenant) ?? { calls: new Set(), bytes: 0 }
    this.#accounts.set(tenant, account)
    account.calls.add(call)
    account.bytes += call.bytes
    return () => {
      if (!account.calls.delete(call)) return
      account.bytes -= call.bytes
      if (account.calls.size === 0 && this.#accounts.get(tenant) === account) this.#accounts.delete(tenant)
    }
  }
}
