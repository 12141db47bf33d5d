// Which answers were fetched: from then on the shorter time counts for which they are kept. Written a little later, for many at
// once: what a crash forgets is kept longer.

import type { Kysely } from 'kysely'
import type { Database } from './schema.ts'

/** How long deliveries are gathered before they are written, and how many go into one statement. */
const DELIVERED_MS = 1000
const MOST_IDS = 500

export class Deliveries {
  readonly #db: Kysely<Database>
  readonly #delivered = new Set<string>()
  #writing: NodeJS.Timeout | undefined
  constructor(db: Kysely<Database>) {
    this.#db = db
  }

  note(id: string): void {
    this.#delivered.add(id)
    this.#writing ??= setTimeout(() => void this.write().catch(() => {}), DELIVERED_MS).unref()
  }

  async write(): Promise<void> {
    clearTimeout(this.#writing)
    this.#writing = undefined
    const ids = [...this.#delivered]
    for (let i = 0; i < ids.length; i += MOST_IDS) {
      const portion = ids.slice(i, i + MOST_IDS)
      await this.#db.updateTable('operations').set({ delivered_at: Date.now() }).where('id', 'in', portion).execute()
      for (const id of portion) this.#delivered.delete(id)
    }
  }
}
