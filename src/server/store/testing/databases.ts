// New databases for tests, of the kind that this run of them is about: tests of the store, the services and the server run
// twice (vitest.config.ts).

import { randomUUID } from 'node:crypto'
import type { Client } from 'pg'
import { inject } from 'vitest'
import { newPostgresClient } from '../postgres.ts'

export interface TestDatabase {
  /** For the setting `database`. */
  readonly url: string
  /**
   * Another one with what is committed in this one; `meanwhile` nothing is. Whoever is connected loses the connection. On
   * SQLite the database is in the state directory, which `meanwhile` copies.
   */
  copy(meanwhile: () => void): Promise<TestDatabase>
  remove(): Promise<void>
}

const sqlite: TestDatabase = {
  url: 'sqlite',
  copy: async (meanwhile) => {
    meanwhile()
    return sqlite
  },
  remove: async () => {},
}

/** With all tables, on PostgreSQL. */
export async function newDatabase(): Promise<TestDatabase> {
  return inject('postgres') === undefined ? sqlite : copyOf('postgres')
}

/** On PostgreSQL, without tables. */
export function newEmptyDatabase(): Promise<TestDatabase> {
  return copyOf('template1')
}

async function copyOf(template: string): Promise<TestDatabase> {
  const name = `t_${randomUUID().replaceAll('-', '')}`
  await administer(`create database ${name} template ${template}`)
  const copy = async (meanwhile: () => void) => {
    await administer(
      `alter database ${name} allow_connections false`,
      `select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = '${name}'`,
    )
    meanwhile()
    const copied = await copyOf(name)
    await administer(`alter database ${name} allow_connections true`)
    // As if its time were over: of that the tests of leases know more.
    await withClient(copied.url, (client) => client.query('update engine_leases set owner = null, expires_at = 0'))
    return copied
  }
  return { url: addressOf(name), copy, remove: () => administer(`drop database ${name} with (force)`) }
}

async function administer(...statements: readonly string[]): Promise<void> {
  await withClient(addressOf('template1'), async (client) => {
    for (const sql of statements) await client.query(sql)
  })
}

async function withClient(url: string, work: (client: Client) => Promise<unknown>): Promise<void> {
  const client = await newPostgresClient(url)
  await client.connect()
  try {
    await work(client)
  } finally {
    await client.end()
  }
}

function addressOf(name: string): string {
  const url = new URL(inject('postgres') ?? '')
  url.pathname = `/${name}`
  return url.href
}
