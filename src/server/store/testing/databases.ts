// New databases for tests, of the kind that this run of them is about: tests of the store, the services and the server run
// twice (vitest.config.ts).

import { randomUUID } from 'node:crypto'
import { inject } from 'vitest'
import { newPostgresClient } from '../postgres.ts'

export interface TestDatabase {
  /** For the setting `database`. */
  readonly url: string
  remove(): Promise<void>
}

/** With all tables, on PostgreSQL. */
export async function newDatabase(): Promise<TestDatabase> {
  return inject('postgres') === undefined ? { url: 'sqlite', remove: async () => {} } : copyOf('postgres')
}

/** On PostgreSQL, without tables. */
export function newEmptyDatabase(): Promise<TestDatabase> {
  return copyOf('template1')
}

async function copyOf(template: string): Promise<TestDatabase> {
  const name = `t_${randomUUID().replaceAll('-', '')}`
  await administer(`create database ${name} template ${template}`)
  return { url: addressOf(name), remove: () => administer(`drop database ${name} with (force)`) }
}

async function administer(sql: string): Promise<void> {
  const client = await newPostgresClient(addressOf('template1'))
  await client.connect()
  try {
    await client.query(sql)
  } finally {
    await client.end()
  }
}

function addressOf(name: string): string {
  const url = new URL(inject('postgres') ?? '')
  url.pathname = `/${name}`
  return url.href
}
