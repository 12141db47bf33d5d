// What servers that share a database tell each other: that something became true, by ids, so that whoever hears it reads the
// rest from the database. Here is the server that has its state to itself and nobody to tell; postgres-signals.ts is for
// those that share it.

import type { Kysely } from 'kysely'
import type { Database } from './schema.ts'

/** What is told, and what its text holds. Nothing of it is trusted beyond being ids to look up. */
export interface Topics {
  /** An operation has ended. */
  ended: string
  /** An operation on a base model was acknowledged. `seq` is 0 where the order of arrival counts. */
  work: { readonly baseModel: string; readonly id: string; readonly seq: number }
  /** A number of a run of a base model will not come. */
  refused: { readonly baseModel: string; readonly run: string; readonly seq: number }
  /** Nobody wants this sample any more. */
  cancelled: string
  /** Where do these operations stand? The server that has them tells. */
  asked: readonly string[]
  /** Shown to whoever asked, so looked at before (services/inquiries.ts). */
  told: readonly unknown[]
  /** A session is over. */
  session: string
  /** The lease of a base model has another holder, or none. */
  lease: string
}

export type Topic = keyof Topics
export type Listener<T extends Topic> = (fact: Topics[T], isOwn: boolean) => void

export interface Signals {
  /** False for a server that has its state to itself: then nothing is sent and nothing heard. */
  readonly isShared: boolean
  /**
   * Every server hears of it, this one too, when the transaction is committed and in the order of commits; when it is not
   * committed, nobody does.
   */
  send<T extends Topic>(trx: Kysely<Database>, topic: T, fact: Topics[T]): Promise<void>
  on<T extends Topic>(topic: T, listener: Listener<T>): void
  /** Called when signals may have been lost: whoever waits for a fact has to look for itself. */
  onGap(listener: () => void): void
  close(): Promise<void>
}

export const ALONE: Signals = {
  isShared: false,
  send: async () => {},
  on: () => {},
  onGap: () => {},
  close: async () => {},
}
