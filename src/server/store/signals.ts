// What servers that share a database tell each other: that something became true, by ids, so that whoever hears it reads the
// rest from the database. A server tells itself nothing: it acts on what it knows. Here is the server that has its state to
// itself; postgres-signals.ts is for those that share it.

import type { Kysely } from 'kysely'
import type { Database } from './schema.ts'

/**
 * `ended`: an operation, by its id. `session`: a session is over, by its id.
 */
export type Topic = 'ended' | 'session'

export interface Signals {
  /** The others hear of it when the transaction is committed, in the order of commits; when it is not, nobody does. */
  send(trx: Kysely<Database>, topic: Topic, text: string): Promise<void>
  on(topic: Topic, listener: (text: string) => void): void
  /** Called when signals may have been lost: whoever waits for a fact has to look for itself. */
  onGap(listener: () => void): void
  close(): Promise<void>
}

export const ALONE: Signals = { send: async () => {}, on: () => {}, onGap: () => {}, close: async () => {} }
