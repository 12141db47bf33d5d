// What a fuzzed server has in it: two tenants with sessions, models, samplers, checkpoints and futures whose ids the requests
// may name, and one model beside them that nobody names, by which a good request is told from a bad one.

import { RawClient, type RawModel } from '../../openapi/conformance/raw-client.ts'
import { EMBEDDED_MODEL } from '../../src/server/config-fields.ts'
import type { Keys } from './requests.ts'
import type { Pool } from './values.ts'

const MODEL = EMBEDDED_MODEL.name
const PROMPT = { chunks: [{ type: 'encoded_text', tokens: [20, 30, 40] }] }

interface Belongings {
  readonly session: string
  readonly run: string
  readonly sampler: string
  readonly path: string
  readonly future: string
  /** A data set of Twinkle's processor routes. */
  readonly object: string
}

/** New things of both tenants, and the pool of their ids. Their sessions are ended by `end`. */
export async function furnish(url: string, keys: Keys): Promise<{ pool: Pool; end(): Promise<void> }> {
  const tenants = [keys.good, keys.other].map((key) => new RawClient(url, key))
  const things = await Promise.all(tenants.map(belongings))
  const end = async () => {
    for (const [i, { session }] of things.entries())
      await tenants[i]?.post(`sessions/${session}/finish`, { reason: { type: 'success' } })
  }
  return { pool: poolOf(things), end }
}

async function belongings(client: RawClient): Promise<Belongings> {
  const session = await client.session()
  const { id: run } = await client.model(MODEL, session)
  const open = { session_id: session, sampling_session_seq_id: 0, base_model: MODEL }
  const { body: sampling } = await client.post('create_sampling_session', open)
  const { body: saved } = await client.post('save_weights', { model_id: run, seq_id: 1, path: 'a' })
  const future = String(saved.request_id)
  const { body: result } = await client.result(future)
  const dataset = { processor_type: 'dataset', class_type: 'Dataset', dataset_meta: { data: [{ messages: [] }] } }
  const { body: made } = await client.post('processor/twinkle/create', dataset)
  return {
    ...{ session, run, future },
    sampler: String(sampling.sampling_session_id),
    path: String(result.path),
    object: String(made.processor_id),
  }
}

function poolOf(things: readonly Belongings[]): Pool {
  const all = (name: keyof Belongings) => things.map((each) => each[name])
  // 0: in order of arrival. A number that skips others waits for them.
  const numbers = [0, 0, 0, 0, 0, 1, 2, 3]
  return {
    session_id: all('session'),
    run: all('run'),
    model_id: all('run'),
    training_run_id: all('run'),
    sampler_id: all('sampler'),
    sampling_session_id: all('sampler'),
    path: [...all('path'), 'b', 'c'],
    tinker_path: all('path'),
    source_path: all('path'),
    model_path: all('path'),
    request_id: all('future'),
    base_model: [MODEL],
    model: [MODEL],
    base: [MODEL],
    run_id: all('run'),
    twinkle_path: all('path'),
    adapter_uri: all('path'),
    adapter_name: ['default', ''],
    processor_id: all('object'),
    class_type: ['Dataset', 'LazyDataset', 'DataLoader', 'Template', 'MathReward', 'AlpacaProcessor', 'InputProcessor'],
    function: [
      '__len__',
      '__getitem__',
      '__iter__',
      '__next__',
      'map',
      'encode',
      'save_as',
      'mix_dataset',
      'constructor',
    ],
    template_cls: ['Template', 'Qwen3_5Template'],
    processor_cls: ['InputProcessor'],
    loss_cls: ['CrossEntropyLoss', 'GRPOLoss', 'DPOLoss'],
    optimizer_cls: ['AdamW', 'SGD'],
    scheduler_cls: ['StepLR', 'CosineWarmupScheduler'],
    metric_cls: ['LossMetric'],
    input_ids: [16, 20, 30, 40],
    labels: [16, 20, -100],
    role: ['user', 'assistant', 'system'],
    name: ['a', 'b', MODEL],
    kind: ['weights', 'sampler_weights', 'external_weights'],
    seq_id: numbers,
    model_seq_id: numbers,
    sampling_session_seq_id: numbers,
    rank: [1, 4, 8],
    max_tokens: [1, 8],
    num_samples: [1, 2],
    tokens: [16, 20, 30, 40, 50, 60, 511],
    loss_fn: ['cross_entropy', 'importance_sampling', 'ppo'],
    starting_on: ['2026-01-01T00:00:00Z'],
    ending_before: ['2100-01-01T00:00:00Z'],
    ttl_seconds: [3600, 7200],
    revision: ['main'],
    file: ['config.json', 'tokenizer.json'],
    keys: ['target_tokens', 'weights', 'logprobs', 'advantages', 'beta', 'note'],
  }
}

/** A model that no hostile request knows of. What it says may never change. */
export class Bystander {
  readonly #client: RawClient
  readonly #model: RawModel
  readonly #expected: string

  private constructor(client: RawClient, model: RawModel, expected: string) {
    this.#client = client
    this.#model = model
    this.#expected = expected
  }

  static async arrive(url: string, key: string): Promise<Bystander> {
    const client = new RawClient(url, key)
    const model = await client.model(MODEL)
    return new Bystander(client, model, await words(client, model))
  }

  /** null when a good request gets the answer it always got; else what it got. */
  async complaint(): Promise<string | null> {
    try {
      const said = await words(this.#client, this.#model)
      return said === this.#expected ? null : `expected ${this.#expected}, got ${said}`
    } catch (error) {
      return (error as Error).message
    }
  }
}

async function words(client: RawClient, model: RawModel): Promise<string> {
  const loss = await model.loss()
  const { body } = await client.post('asample', {
    base_model: MODEL,
    prompt: PROMPT,
    sampling_params: { max_tokens: 4, temperature: 0 },
  })
  const { body: result } = await client.result(String(body.request_id))
  const [sequence] = result.sequences as { tokens: number[] }[]
  return `${loss.toFixed(5)} ${sequence?.tokens.join(',')}`
}
