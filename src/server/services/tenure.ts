// The time in which this server has the engine of a base model, and with it the model's work, to itself. A server that has
// its state to itself has it for ever; where servers share a database it is a lease (engine-leases.ts). What is written
// about the work is checked against it in the same transaction, so that a server that lost a model without noticing cannot
// end, or start, what another one does by then.

import type { Kysely } from 'kysely'
import type { Database } from '../store/schema.ts'

export interface Tenure {
  /** True once this server knows that it is over. */
  readonly isOver: boolean
  /** Inside the transaction that writes. Throws TenureOver when another server has the model. */
  check(trx: Kysely<Database>): Promise<void>
}

export const FOR_EVER: Tenure = { isOver: false, check: async () => {} }

/** Nobody hears of it: what was not written down is in the journal, for the server that has the model now. */
export class TenureOver extends Error {
  constructor(baseModel: string) {
    super(`another server has taken over ${baseModel}`)
    this.name = 'TenureOver'
  }
}
