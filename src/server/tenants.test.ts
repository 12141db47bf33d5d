// Keys and tenants as their owners and the operator meet them: a running server, and a command line beside it that works on
// the same database.

import { createHash } from 'node:crypto'
import type { Kysely } from 'kysely'
import sinon from 'sinon'
import { afterEach, describe, expect, it } from 'vitest'
import { Keys, type NewKey } from './services/keys.ts'
import { TenantRecords } from './services/tenant-records.ts'
import { openDatabase } from './store/database.ts'
import type { Database } from './store/schema.ts'
import { type Json, TestServer } from './testing/test-server.ts'

const HOUR = 3_600_000
function inAnHour(): void {
  const then = Date.now() + HOUR
  sinon.stub(Date, 'now').returns(then)
}
const hashOf = (key: string) => createHash('sha256').update(key).digest('hex')

let server: TestServer
let db: Kysely<Database>
/** What the command line would do. */
let keys: Keys

async function start(settings: ConstructorParameters<typeof TestServer>[0] = {}) {
  server = new TestServer(settings)
  await server.start()
  db = await openDatabase(server.place)
  keys = new Keys(db)
}
afterEach(async () => {
  sinon.restore()
  await db.destroy()
  await server.stop()
})

async function make(name: string, changes: Partial<NewKey> = {}) {
  const { id: tenant } = await new TenantRecords(db).findOrCreate(name)
  return keys.create({ tenant, label: '', role: 'member', expiresAt: null, ...changes }, 'operator')
}
const refusal = async (key: string) => (await server.call('listSessions', { key }, 401)).code
const sessionsOf = async (key: string) => (await server.call('listSessions', { key })).sessions

describe('a key', () => {
  it('that was made closes the server to everybody else, at once, and for ever', async () => {
    await start()
    await server.newSession({}, 'tml-anybody')
    const anna = await make('anna')
    expect(anna.key).toMatch(/^tml-[\w-]{43}$/)
    expect(await sessionsOf(anna.key)).toEqual([])
    expect(await refusal('tml-anybody')).toBe('WRONG_KEY')
    await keys.revoke(anna.id, 'operator')
    expect(await refusal('tml-anybody')).toBe('WRONG_KEY')
    await server.restart()
    expect(await refusal('tml-anybody')).toBe('WRONG_KEY')
  })

  it('belongs to a tenant, which owns things whichever of its keys is used', async () => {
    await start()
    const [laptop, desk, other] = [await make('anna', { label: 'laptop' }), await make('anna'), await make('bert')]
    const session = await server.newSession({}, laptop.key)
    expect(await sessionsOf(desk.key)).toEqual([session])
    expect(await sessionsOf(other.key)).toEqual([])
    const me = await server.call('getCurrentApiKey', { key: laptop.key })
    expect(me).toMatchObject({ name: 'laptop', note: 'member', details: { org_details: { name: 'anna' } } })
    expect(me.key_id).not.toBe((await server.call('getCurrentApiKey', { key: desk.key })).key_id)
  })

  it('is in the database as a hash only', async () => {
    await start()
    const { key } = await make('anna')
    const rows = JSON.stringify([
      await db.selectFrom('api_keys').selectAll().execute(),
      await db.selectFrom('audit').selectAll().execute(),
    ])
    expect(rows).toContain(hashOf(key))
    expect(rows).not.toContain(key.slice(4, 20))
  })

  it('that is revoked says so, and its tokens end with it', async () => {
    await start()
    const [first, second] = [await make('anna'), await make('anna')]
    const { jwt } = await server.call('authToken', { key: first.key, body: {} })
    const session = await server.newSession({}, jwt)
    await keys.revoke(first.id, 'operator')
    expect([await refusal(first.key), await refusal(jwt)]).toEqual(['KEY_REVOKED', 'KEY_REVOKED'])
    expect(await sessionsOf(second.key)).toEqual([session])
  })

  it('ends when its time is over', async () => {
    await start()
    const { key } = await make('anna', { expiresAt: Date.now() + HOUR })
    expect(await sessionsOf(key)).toEqual([])
    inAnHour()
    expect(await refusal(key)).toBe('KEY_EXPIRED')
  })

  it('is replaced by another of the same tenant, role and life, and stays good for the grace', async () => {
    await start()
    const old = await make('anna', { role: 'admin', label: 'ci', expiresAt: Date.now() + 48 * HOUR })
    const session = await server.newSession({}, old.key)
    const made = await keys.rotate(old.id, HOUR, 'operator')
    expect(made).toMatchObject({ tenant: old.tenant, role: 'admin', label: 'ci' })
    expect(made.expiresAt).toBeGreaterThanOrEqual(old.expiresAt as number)
    expect([await sessionsOf(old.key), await sessionsOf(made.key)]).toEqual([[session], [session]])
    inAnHour()
    expect(await refusal(old.key)).toBe('KEY_EXPIRED')
    expect(await sessionsOf(made.key)).toEqual([session])
    const next = await keys.rotate(made.id, 0, 'operator')
    expect(await refusal(made.key)).toBe('KEY_REVOKED')
    expect(await sessionsOf(next.key)).toEqual([session])
    await expect(keys.rotate(made.id, 0, 'operator')).rejects.toMatchObject({ code: 'KEY_REVOKED' })
  })

  it('is revoked by whoever holds it, and no other with it', async () => {
    await start()
    const [one, two] = [await make('anna'), await make('anna')]
    expect((await server.send('revokeCurrentApiKey', { key: one.key })).status).toBe(204)
    expect(await refusal(one.key)).toBe('KEY_REVOKED')
    expect(await sessionsOf(two.key)).toEqual([])
    const { entries } = await server.call('getAuditLog', { key: two.key })
    expect(entries.at(-1)).toMatchObject({ event: 'api_key_revoke', event_details: { key: one.id, actor: one.tenant } })
  })

  it('tells when it was used last', async () => {
    await start()
    const { key, id } = await make('anna')
    await sessionsOf(key)
    // The note is written while the answer is on its way; queries of one connection take turns.
    await sessionsOf(key)
    const listed = await keys.list()
    expect(listed).toEqual([expect.objectContaining({ id, tenantName: 'anna' })])
    expect(Date.now() - (listed[0]?.last_used_at ?? 0)).toBeLessThan(10 * 60_000)
  })
})

describe('an admin', () => {
  it('sees what all tenants use, store and do, and owns none of it; a member sees its own', async () => {
    await start()
    const [anna, bert, admin] = [await make('anna'), await make('bert'), await make('staff', { role: 'admin' })]
    for (const { key } of [anna, bert]) {
      const run = await server.newModel(await server.newSession({}, key), {}, key)
      await server.result('saveWeights', { key, body: { model_id: run, path: 'a' } })
      await server.call('publishCheckpoint', { key, params: { run, kind: 'weights', name: 'a' } })
    }
    const seen = async ({ key }: { key: string }) => {
      const { entries } = await server.call('getAuditLog', { key, query: { event_type: 'checkpoints' } })
      const query = { starting_on: '2020-01-01T00:00:00Z', ending_before: '2100-01-01T00:00:00Z' }
      const { data: usage } = await server.call('getBillingUsageEvents', { key, query })
      const { data: storage } = await server.call('getCurrentCheckpointStorage', { key })
      return {
        actors: entries.map((e: Json) => e.event_details.actor).sort(),
        users: new Set(usage.map((e: Json) => e.session_id)).size,
        owners: storage.map((row: Json) => row.user_name).sort(),
      }
    }
    const all = [anna.tenant, bert.tenant].sort()
    expect(await seen(admin)).toEqual({ actors: all, users: 2, owners: ['anna', 'bert'] })
    expect(await seen(bert)).toEqual({ actors: [bert.tenant], users: 1, owners: ['bert'] })
    const mine = await server.call('listUserCheckpoints', { key: admin.key })
    expect(mine.checkpoints).toEqual([])
  })
})

describe('a key of the configuration', () => {
  it('goes on beside those of the database, and cannot revoke itself', async () => {
    await start({ keys: [`sha256:${hashOf('tml-config')}`] })
    const { key } = await make('anna')
    const session = await server.newSession({}, 'tml-config')
    expect(await sessionsOf(key)).toEqual([])
    expect((await server.call('revokeCurrentApiKey', { key: 'tml-config' }, 403)).code).toBe('KEY_STAYS')
    expect(await sessionsOf('tml-config')).toEqual([session])
    const { jwt } = await server.call('authToken', { key: 'tml-config', body: {} })
    expect(await sessionsOf(jwt)).toEqual([session])
  })

  it('can be followed by one of the database that owns what it owned, under a name', async () => {
    await start({ keys: [`sha256:${hashOf('tml-config')}`] })
    const session = await server.newSession({}, 'tml-config')
    const records = new TenantRecords(db)
    const [nameless] = await records.list()
    await records.set(nameless?.id ?? '', {}, 'anna')
    const { key } = await make('anna')
    expect([await sessionsOf(key), await sessionsOf('tml-config')]).toEqual([[session], [session]])
  })
})

describe('a server that anybody may use', () => {
  it('has no key that could be revoked, and takes no part of a token for another tenant', async () => {
    await start()
    expect((await server.call('revokeCurrentApiKey', { key: 'tml-a' }, 403)).code).toBe('KEY_STAYS')
    const { jwt } = await server.call('authToken', { key: 'tml-a', body: {} })
    await make('anna')
    expect(await refusal(jwt)).toBe('WRONG_KEY')
  })

  it('does not start where strangers could reach it, until there is a key', async () => {
    // An address of this machine that the rule does not know as such.
    server = new TestServer({ host: '::ffff:127.0.0.1' })
    await expect(server.start()).rejects.toThrow(/can be reached from other machines, and there are no keys/)
    db = await openDatabase(server.place)
    keys = new Keys(db)
    const { key } = await make('anna')
    await server.start()
    expect(await sessionsOf(key)).toEqual([])
  })
})

describe('the operator', () => {
  it('is told of names that mean nobody, or could mean somebody else', async () => {
    await start()
    const records = new TenantRecords(db)
    await records.findOrCreate('anna')
    await records.findOrCreate('bert')
    await expect(records.set('ana', { weight: 2 })).rejects.toMatchObject({ code: 'UNKNOWN_TENANT' })
    await expect(records.show('ana')).rejects.toThrow(/Did you mean "anna"/)
    await expect(records.set('anna', {}, 'bert')).rejects.toMatchObject({ code: 'TENANT_EXISTS' })
    await expect(records.set('anna', {}, 'a'.repeat(24))).rejects.toMatchObject({ code: 'INVALID_TENANT_NAME' })
    await expect(records.findOrCreate('../anna')).rejects.toMatchObject({ code: 'INVALID_TENANT_NAME' })
    await expect(keys.revoke('key-none', 'operator')).rejects.toMatchObject({ code: 'UNKNOWN_KEY' })
  })

  it('sees what tenants use of what they may', async () => {
    await start()
    const anna = await make('anna')
    await keys.revoke((await make('anna')).id, 'operator')
    const run = await server.newModel(await server.newSession({}, anna.key), {}, anna.key)
    await server.result('saveWeights', { key: anna.key, body: { model_id: run, path: 'a' } })
    const records = new TenantRecords(db)
    await records.set('anna', { weight: 2, adapters: 3 })
    await records.set('anna', { adapters: undefined })
    const shown = await records.show('anna')
    expect(shown).toMatchObject({ name: 'anna', limits: { weight: 2 }, keys: 1, adapters: 1 })
    expect(shown.storageBytes).toBeGreaterThan(0)
    expect(shown.limits).not.toHaveProperty('adapters')
  })
})
