// Tenants with a thing of every kind, each with ids that another one could know. For tests of who may see what.

import { Keys } from '../services/keys.ts'
import { TenantRecords } from '../services/tenant-records.ts'
import { openDatabase } from '../store/database.ts'
import type { TestServer } from './test-server.ts'

export interface Owned {
  readonly key: string
  readonly session: string
  readonly run: string
  /** Checkpoints of every kind. */
  readonly paths: readonly string[]
  readonly sampler: string
  /** A data set of the processor routes, with the word below in its rows; a file of its name was saved. */
  readonly object: string
  /** Request ids of every kind. */
  readonly futures: readonly string[]
  /** Of Twinkle's protocol: a session with the adapter `default`. */
  readonly owner: string
  /** A word that stands in everything that belongs to the tenant and nowhere else. */
  readonly project: string
  /** Another session and run, to attack from. */
  readonly spare: { readonly session: string; readonly run: string }
}

/** Keys of new tenants, made beside the running server. */
export async function withKeys(
  server: TestServer,
  ...names: readonly string[]
): Promise<string[] & { 0: string; 1: string }> {
  const db = await openDatabase(server.place)
  const made: string[] = []
  for (const name of names) {
    const { id: tenant } = await new TenantRecords(db).findOrCreate(name)
    const { key } = await new Keys(db).create({ tenant, label: '', role: 'member', expiresAt: null }, 'operator')
    made.push(key)
  }
  await db.destroy()
  return made as string[] & { 0: string; 1: string }
}

export async function populate(server: TestServer, key: string, secret: string): Promise<Owned> {
  const user_metadata = { secret }
  const session = await server.newSession(
    { project_id: secret, display_name: secret, tags: [secret], user_metadata },
    key,
  )
  const create = {
    session_id: session,
    model_seq_id: 0,
    base_model: 'org/tiny',
    lora_config: { rank: 4 },
    user_metadata,
  }
  const made = await server.call('createModel', { key, body: create })
  const run = made.model_id as string
  const futures = [made.request_id as string]
  const save = async (id: 'saveWeights' | 'saveWeightsForSampler' | 'saveWeightsExternal') => {
    const { request_id } = await server.call(id, { key, body: { model_id: run, path: 'a' } })
    futures.push(request_id)
    const { path } = await server.call('retrieveFuture', { key, body: { request_id } })
    return path as string
  }
  const paths = [await save('saveWeights'), await save('saveWeightsForSampler'), await save('saveWeightsExternal')]
  const open = { session_id: session, sampling_session_seq_id: 0, model_path: paths[1] }
  const { sampling_session_id: sampler } = await server.call('createSamplingSession', { key, body: open })
  const prompt = { chunks: [{ tokens: [1, 2] }] }
  const sample = { prompt, sampling_params: { max_tokens: 1 }, sampling_session_id: sampler, seq_id: 0 }
  const { request_id } = await server.call('asample', { key, body: sample })
  futures.unshift(request_id)
  await server.call('retrieveFuture', { key, body: { request_id } })
  const rows = { dataset_meta: { data: [{ secret }] } }
  const dataset = { processor_type: 'dataset', class_type: 'Dataset', ...rows }
  const { processor_id: object } = await server.call('processorCreate', { key, body: dataset })
  const saving = { processor_id: object, function: 'save_as', output_path: `${object.slice('pid:'.length)}.jsonl` }
  await server.call('processorCall', { key, body: saving })
  const params = { run, kind: 'weights', name: 'a' }
  await server.call('setCheckpointTtl', { key, params, body: { ttl_seconds: 7200 } })
  const { session_id: owner } = await server.call('twinkleCreateSession', { key, body: { metadata: { secret } } })
  const adapter = { params: { base: 'org/tiny' }, headers: { 'x-twinkle-session-id': owner } }
  await server.call('modelAddAdapter', { key, ...adapter, body: { adapter_name: 'default' } })
  const spareSession = await server.newSession({}, key)
  const spare = { session: spareSession, run: await server.newModel(spareSession, {}, key) }
  return { key, session, run, paths, sampler, object, futures, owner, project: secret, spare }
}
