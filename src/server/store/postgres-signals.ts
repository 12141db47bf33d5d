// Signals between the servers of one PostgreSQL database: NOTIFY inside the transaction that makes a fact true, LISTEN on a
// connection of its own. PostgreSQL delivers them to everybody in the order of commits. While the connection is broken they
// are lost; when there is a new one, everybody is told to look again.

import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Kysely, sql } from 'kysely'
import type { Client } from 'pg'
import { newPostgresClient } from './postgres.ts'
import type { Database } from './schema.ts'
import type { Listener, Signals, Topic, Topics } from './signals.ts'

/** Of the database. */
const CHANNEL = 'twinkle'
const PAUSE_MS = { first: 100, most: 5000 }
/** A connection that a firewall forgot says nothing: it is asked this often, and has so long to answer. */
const ASK_MS = { every: 15_000, limit: 5000 }

/** Throws what connecting throws; afterwards a lost connection is replaced for as long as it takes. */
export async function openPostgresSignals(url: string, log: (cause: unknown) => void): Promise<Signals> {
  const signals = new PostgresSignals(url, log)
  await signals.connect()
  return signals
}

class PostgresSignals implements Signals {
  readonly isShared = true
  readonly #url: string
  readonly #log: (cause: unknown) => void
  /** Tells own signals from those of others. */
  readonly #sender = randomUUID()
  readonly #listeners: [Topic, Listener<never>][] = []
  readonly #gaps: (() => void)[] = []
  readonly #closing = new AbortController()
  #client: Client | null = null
  #asking: NodeJS.Timeout | undefined

  constructor(url: string, log: (cause: unknown) => void) {
    this.#url = url
    this.#log = log
  }

  async send<T extends Topic>(trx: Kysely<Database>, topic: T, fact: Topics[T]): Promise<void> {
    const message = JSON.stringify([this.#sender, topic, fact])
    await sql`select pg_notify(${CHANNEL}, ${message})`.execute(trx)
  }

  on<T extends Topic>(topic: T, listener: Listener<T>): void {
    this.#listeners.push([topic, listener as Listener<never>])
  }

  onGap(listener: () => void): void {
    this.#gaps.push(listener)
  }

  async connect(): Promise<void> {
    const client = await newPostgresClient(this.#url)
    const lost = (cause?: unknown) => this.#lost(client, cause)
    client.on('error', lost)
    client.on('end', lost)
    client.on('notification', ({ payload }) => this.#hear(payload ?? ''))
    try {
      await client.connect()
      await client.query(`listen ${CHANNEL}`)
    } catch (cause) {
      void client.end().catch(() => {})
      throw cause
    }
    if (this.#closing.signal.aborted) return client.end()
    this.#client = client
    this.#asking = setTimeout(() => void this.#ask(client), ASK_MS.every).unref()
  }

  /** Whoever may use the database may use its channels: what is no signal of ours is left alone. */
  #hear(message: string): void {
    try {
      const [sender, topic, fact] = JSON.parse(message) as [string, Topic, never]
      for (const [of, listener] of this.#listeners) if (of === topic) listener(fact, sender === this.#sender)
    } catch (cause) {
      this.#log(cause)
    }
  }

  async #ask(client: Client): Promise<void> {
    const silence = sleep(ASK_MS.limit, 'silent', { ref: false })
    const answer = await Promise.race([client.query('select 1'), silence]).catch((cause) => cause as unknown)
    if (answer === 'silent') return this.#lost(client, new Error('the database did not answer'))
    if (this.#client === client) this.#asking = setTimeout(() => void this.#ask(client), ASK_MS.every).unref()
  }

  /** Once a connection. */
  #lost(client: Client, cause: unknown): void {
    if (this.#client !== client) return
    this.#client = null
    clearTimeout(this.#asking)
    void client.end().catch(() => {})
    if (this.#closing.signal.aborted) return
    this.#log(cause ?? new Error('the connection that signals come by has ended'))
    void this.#reconnect()
  }

  async #reconnect(): Promise<void> {
    const { signal } = this.#closing
    for (let pause = PAUSE_MS.first; !signal.aborted; pause = Math.min(PAUSE_MS.most, 2 * pause)) {
      try {
        await this.connect()
        break
      } catch {
        await sleep(pause, undefined, { signal, ref: false }).catch(() => {})
      }
    }
    if (!signal.aborted) for (const tell of this.#gaps) tell()
  }

  async close(): Promise<void> {
    this.#closing.abort()
    clearTimeout(this.#asking)
    const client = this.#client
    this.#client = null
    await client?.end()
  }
}
