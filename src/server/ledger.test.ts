// The ledger adds up to what clients sent: several keys at once, with repetitions, refusals, failures, cancelled samples, an
// engine that dies and a server that is started again. Work that was done counts once, for the key of its session; what
// failed costs nothing.

import type { Kysely } from 'kysely'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { Keys } from './services/keys.ts'
import { TenantRecords } from './services/tenant-records.ts'
import { openDatabase } from './store/database.ts'
import type { Database } from './store/schema.ts'
import { type Json, TestServer } from './testing/test-server.ts'

const server = new TestServer()
let db: Kysely<Database>
beforeAll(async () => {
  await server.start()
  db = await openDatabase(server.place)
})
afterAll(async () => {
  await db.destroy()
  await server.stop()
})

const engine = () => server.backend.engines.at(-1)!

/** A client of a key, and what it should be charged with. */
class Client {
  readonly owed = { training: 0, sampling_prefill: 0, sampling_sample: 0, checkpoint: 0 }
  readonly key: string
  readonly keyId: string
  session = ''
  run = ''
  sampler = ''
  #seq = 0
  #samples = 0

  constructor({ id, key }: { id: string; key: string }) {
    this.keyId = id
    this.key = key
  }

  async open(): Promise<void> {
    this.session = await server.newSession({}, this.key)
    this.run = await server.newModel(this.session, {}, this.key)
    const body = { session_id: this.session, sampling_session_seq_id: 0, base_model: 'org/tiny' }
    this.sampler = (await this.#call('createSamplingSession', body)).sampling_session_id
  }

  #call(id: Parameters<TestServer['call']>[0], body: object, status?: number): Promise<Json> {
    return server.call(id, { key: this.key, body }, status)
  }

  /** Gives the request id. `times` submissions of one number. */
  async submitPass(tokens: number, times = 1): Promise<string> {
    const row = Array.from({ length: tokens }, (_, i) => 3 + (i % 50))
    const datum = {
      model_input: { chunks: [{ tokens: row }] },
      loss_fn_inputs: { target_tokens: { data: row, dtype: 'int64' } },
    }
    const input = { data: [datum, datum], loss_fn: 'cross_entropy' }
    const body = { model_id: this.run, seq_id: ++this.#seq, forward_backward_input: input }
    const ids = await Promise.all(Array.from({ length: times }, () => this.#call('forwardBackward', body)))
    expect(new Set(ids.map(({ request_id }) => request_id)).size).toBe(1)
    return ids[0].request_id
  }

  async submitSample(prompt: number, drawn: number, samples: number): Promise<string> {
    const body = {
      sampling_session_id: this.sampler,
      seq_id: this.#samples++,
      num_samples: samples,
      prompt: { chunks: [{ tokens: Array.from({ length: prompt }, () => 7) }] },
      sampling_params: { max_tokens: drawn, stop: [] },
    }
    return (await this.#call('asample', body)).request_id
  }

  result(request_id: string): Promise<Json> {
    return this.#call('retrieveFuture', { request_id })
  }

  async pass(tokens: number, times = 1): Promise<void> {
    expect((await this.result(await this.submitPass(tokens, times))).metrics).toBeDefined()
    this.owed.training += 2 * tokens
  }

  async sample(prompt: number, drawn: number, samples: number): Promise<void> {
    expect((await this.result(await this.submitSample(prompt, drawn, samples))).sequences).toHaveLength(samples)
    this.owed.sampling_prefill += prompt
    this.owed.sampling_sample += drawn * samples
  }

  async save(name: string): Promise<void> {
    const body = { model_id: this.run, seq_id: ++this.#seq, path: name }
    const { request_id } = await this.#call('saveWeights', body)
    if ((await this.result(request_id)).path) this.owed.checkpoint++
  }

  async refusedPass(): Promise<void> {
    const input = { data: [], loss_fn: 'cross_entropy' }
    await this.#call('forwardBackward', { model_id: this.run, seq_id: ++this.#seq, forward_backward_input: input }, 400)
  }

  cancel(request_id: string): Promise<Json> {
    return this.#call('cancelFuture', { request_id })
  }
}

async function newClient(tenantName: string, label: string): Promise<Client> {
  const { id: tenant } = await new TenantRecords(db).findOrCreate(tenantName)
  const key = await new Keys(db).create({ tenant, label, role: 'member', expiresAt: null }, 'operator')
  const client = new Client(key)
  await client.open()
  return client
}

/** What a tenant's ledger says of each of its keys. */
async function charged(key: string): Promise<Record<string, Json>> {
  const query = { starting_on: '2020-01-01T00:00:00Z', ending_before: '2100-01-01T00:00:00Z' }
  const { data } = await server.call('getBillingUsageEvents', { key, query })
  const sums: Record<string, Record<string, number>> = {}
  for (const { user_id, event_info: event } of data) {
    if (event.type === 'storage') continue
    const of = sums[user_id] ?? { training: 0, sampling_prefill: 0, sampling_sample: 0, checkpoint: 0 }
    of[event.type]! += event.token_count ?? event.count
    sums[user_id] = of
  }
  return sums
}

it('the ledger of every key adds up to what its clients sent and got', async () => {
  const [laptop, desk, other] = [
    await newClient('anna', 'laptop'),
    await newClient('anna', 'desk'),
    await newClient('bert', ''),
  ]
  const clients = [laptop, desk, other]
  await Promise.all(
    clients.map(async (client, i) => {
      for (let round = 1; round <= 4; round++) {
        await Promise.all([
          client.pass(5 * round + i, 1 + (round % 3)),
          client.sample(3 + i, round, round),
          client.refusedPass(),
        ])
      }
      await client.save('a')
      await client.save('a')
    }),
  )
  // A pass that fails and a sample that is cancelled cost nothing.
  engine().failNext('train')
  expect(await laptop.result(await laptop.submitPass(50))).toMatchObject({ category: 'server' })
  const drawing = engine().block('generate')
  const unwanted = await desk.submitSample(100, 9, 2)
  await drawing.entered
  await desk.cancel(unwanted)
  drawing.open()
  expect(await desk.result(unwanted)).toMatchObject({ code: 'CANCELLED' })
  // What an engine had begun when it died is done again by its successor, and counts once.
  const training = engine().block('train')
  const interrupted = await other.submitPass(21, 2)
  await training.entered
  engine().crash()
  expect((await other.result(interrupted)).metrics).toBeDefined()
  other.owed.training += 42
  await server.restart()
  await Promise.all(clients.map((client) => client.sample(2, 2, 1)))

  const anna = await charged(laptop.key)
  expect(anna).toEqual({ [laptop.keyId]: laptop.owed, [desk.keyId]: desk.owed })
  expect(await charged(desk.key)).toEqual(anna)
  expect(await charged(other.key)).toEqual({ [other.keyId]: other.owed })
  expect(other.owed).toMatchObject({ checkpoint: 1, sampling_sample: 1 + 4 + 9 + 16 + 2 })
})
