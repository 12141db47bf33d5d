// The session behind an owner of Twinkle's protocol. Newer clients open one and name it; older ones name their process, or
// nobody: such an owner gets a session of its own, which every request of it keeps alive and silence ends, as any other.
// Knows sessions; knows no adapter.

import { randomUUID } from 'node:crypto'
import type { Kysely } from 'kysely'
import type { Database } from '../store/schema.ts'
import type { Sessions } from './sessions.ts'

/** Who asks: a tenant, the key it used, and the owner that its request names. */
export interface Party {
  readonly tenant: string
  readonly key: string
  readonly owner: string
}

export class TwinkleOwners {
  readonly #db: Kysely<Database>
  readonly #sessions: Sessions
  constructor(db: Kysely<Database>, sessions: Sessions) {
    this.#db = db
    this.#sessions = sessions
  }

  /** Opens a session and gives its id, in the form that Twinkle's clients know. */
  async open({ tenant, key }: Omit<Party, 'owner'>, metadata: Readonly<Record<string, unknown>>): Promise<string> {
    const session = { ...PLAIN, userMetadata: metadata, apiKey: key }
    return this.#sessions.create(tenant, session, `session_${randomUUID().replaceAll('-', '')}`)
  }

  /** An active session for what the owner makes. Throws SESSION_OVER and UNKNOWN_SESSION for an owner that says it is one. */
  async session(party: Party): Promise<string> {
    const { tenant, owner } = party
    if (owner.startsWith('session_')) {
      await this.#sessions.require(tenant, owner)
      return owner
    }
    return (await this.#active(party)) ?? (await this.#adopt(party))
  }

  /** A sign of life of an owner without a session of its own. */
  async touch(party: Party): Promise<void> {
    const session = party.owner.startsWith('session_') ? undefined : await this.#active(party)
    if (session !== undefined) await this.#sessions.heartbeat(party.tenant, session)
  }

  async #active({ tenant, owner }: Party): Promise<string | undefined> {
    const row = await this.#db
      .selectFrom('twinkle_owners')
      .innerJoin('sessions', 'sessions.id', 'twinkle_owners.session')
      .select('sessions.id')
      .where('twinkle_owners.tenant', '=', tenant)
      .where('owner', '=', owner)
      .where('sessions.state', '=', 'active')
      .executeTakeFirst()
    return row?.id
  }

  /** Of two that come at once, the later session is used from then on; the other one ends by silence. */
  async #adopt(party: Party): Promise<string> {
    const { tenant, owner } = party
    const session = await this.open(party, { owner })
    await this.#db
      .insertInto('twinkle_owners')
      .values({ tenant, owner, session })
      .onConflict((conflict) => conflict.columns(['tenant', 'owner']).doUpdateSet({ session }))
      .execute()
    return session
  }
}

const PLAIN = { tags: [], sdkVersion: null, projectId: null, displayName: null }
