// Processor routes on a whole server: objects by name, whose they are and how long they last.

import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { openDatabase } from '../store/database.ts'
import { type Json, TestServer } from '../testing/test-server.ts'

const dataDir = mkdtempSync(join(tmpdir(), 'twinkle-data-'))
const server = new TestServer({ dataDir })
let session: string
/** Each part has a tenant of its own: none may have many objects. */
let key = 'tml-anna'

beforeAll(async () => {
  mkdirSync(join(dataDir, 'swift'))
  mkdirSync(join(dataDir, 'org/pairs/de'), { recursive: true })
  const rows = Array.from({ length: 6 }, (_, i) => ({ query: `Who ${i}?`, response: '{{NAME}} by {{AUTHOR}}', n: i }))
  writeFileSync(join(dataDir, 'swift/self-cognition.jsonl'), rows.map((row) => JSON.stringify(row)).join('\n'))
  writeFileSync(join(dataDir, 'org/pairs/de/test.csv'), 'a,b\n1,x\n')
  writeFileSync(join(dataDir, 'broken.json'), '[1')
  writeFileSync(join(dataDir, 'table.parquet'), 'PAR1')
  symlinkSync('/etc/hostname', join(dataDir, 'outside.jsonl'))
  await server.start()
  session = (await server.call('twinkleCreateSession', { body: {} })).session_id
})
afterAll(async () => {
  await server.stop()
  rmSync(dataDir, { recursive: true })
})

const as = () => ({ key, headers: key === 'tml-anna' ? { 'x-twinkle-session-id': session } : {} })
const create = async (
  processor_type: string,
  class_type: string,
  kwargs: object = {},
  status?: number,
): Promise<Json> => server.call('processorCreate', { ...as(), body: { processor_type, class_type, ...kwargs } }, status)
const dataset = async (meta: object, kind = 'Dataset'): Promise<string> =>
  (await create('dataset', kind, { dataset_meta: JSON.stringify({ _TWINKLE_TYPE_: 'DatasetMeta', ...meta }) }))
    .processor_id
const call = async (processor_id: string, name: string, kwargs: object = {}, status?: number): Promise<Json> => {
  const answer = await server.call(
    'processorCall',
    { ...as(), body: { processor_id, function: name, ...kwargs } },
    status,
  )
  return status === undefined ? answer.result : answer
}
const numbers = (count: number) => ({ data: Array.from({ length: count }, (_, n) => ({ n })) })

describe('the script of the cookbook', () => {
  let loader: string

  it('makes a data set of a file, maps, encodes and loads it', async () => {
    const slice = { _slice_type_: 'range', start: 0, stop: 5, step: 1 }
    const id = await dataset({ dataset_id: 'ms://swift/self-cognition', split: 'train', data: null, data_slice: slice })
    expect(id).toMatch(/^pid:[0-9a-f]{32}$/)
    expect(
      await call(id, 'set_template', { template_func: 'Template', model_id: 'ms://org/tiny', max_length: 512 }),
    ).toBeNull()
    const init_args = { model_name: 'Ada', model_author: 'Lab' }
    await call(id, 'map', { preprocess_func: 'SelfCognitionProcessor', dataset_meta: null, init_args })
    await call(id, 'encode', { add_generation_prompt: false, batched: true })
    expect(await call(id, '__len__')).toBe(5)
    const row = await call(id, '__getitem__', { idx: 0 })
    expect(row.messages.at(-1)).toMatchObject({ role: 'assistant', content: 'Ada by Lab' })
    expect(row.labels).toHaveLength(row.input_ids.length)
    expect(row.labels.at(-1)).toBe(-100)
    loader = (await create('dataloader', 'DataLoader', { dataset: id, batch_size: 2 })).processor_id
    expect(await call(loader, '__len__')).toBe(3)
    expect(await call(loader, '__iter__')).toBe('ok')
    expect((await call(loader, '__next__')).map(({ n }: Json) => n)).toEqual([0, 1])
  })

  it('goes on after a restart where it stood, with rows that were encoded before', async () => {
    await server.restart()
    const [row] = await call(loader, '__next__')
    expect(row).toMatchObject({ n: 2, input_ids: expect.any(Array) })
    expect((await call(loader, '__next__')).map(({ n }: Json) => n)).toEqual([4])
  })

  it('hears of the end in a 410 with JSON, and may begin again', async () => {
    expect(await call(loader, '__next__', {}, 410)).toMatchObject({
      code: 'ITERATOR_EXHAUSTED',
      detail: expect.any(String),
    })
    expect(await call(loader, 'get_state')).toEqual({ consumed_train_samples: 5 })
    await call(loader, '__iter__')
    expect((await call(loader, '__next__')).map(({ n }: Json) => n)).toEqual([0, 1])
    await call(loader, 'resume_from_checkpoint', { consumed_train_samples: 4 })
    await call(loader, '__iter__')
    expect((await call(loader, '__next__')).map(({ n }: Json) => n)).toEqual([4])
  })
})

describe('data by name', () => {
  it('is found with its subset and split', async () => {
    const id = await dataset({ dataset_id: 'hf://org/pairs', subset_name: 'de', split: 'test' })
    expect(await call(id, '__getitem__', { idx: 0 })).toEqual({ a: 1, b: 'x' })
  })

  it('is read as far as its slice goes: a line beyond it may be broken', async () => {
    const good = Array.from({ length: 3 }, (_, n) => JSON.stringify({ n })).join('\n')
    writeFileSync(join(dataDir, 'half.jsonl'), `${good}\n{`)
    const slice = (stop: number) => ({ _slice_type_: 'range', start: 0, stop, step: 1 })
    expect(await call(await dataset({ dataset_id: 'half', data_slice: slice(3) }), '__len__')).toBe(3)
    const all = { dataset_meta: { dataset_id: 'half', data_slice: slice(4) } }
    expect((await create('dataset', 'Dataset', all, 400)).detail).toContain('line 4 of half')
  })

  it.each<[string, number, string]>([
    ['ms://org/unknown', 404, 'UNKNOWN_DATASET'],
    ['outside', 404, 'UNKNOWN_DATASET'],
    ['outside.jsonl', 404, 'UNKNOWN_DATASET'],
    ['table', 404, 'UNKNOWN_DATASET'],
    ['table.parquet', 400, 'UNSUPPORTED_NAME'],
    ['broken.json', 400, 'INVALID_ARGUMENT'],
    ['../twinkle', 400, 'INVALID_DATASET_PATH'],
    ['/etc/passwd', 400, 'INVALID_DATASET_PATH'],
    ['a//b', 400, 'INVALID_DATASET_PATH'],
    ['a\\b', 400, 'INVALID_DATASET_PATH'],
    ['.hidden', 400, 'INVALID_DATASET_PATH'],
    ['a\0b', 400, 'INVALID_DATASET_PATH'],
    ['x/'.repeat(20), 400, 'INVALID_DATASET_PATH'],
  ])('%j is refused', async (dataset_id, status, code) => {
    const answer = await create('dataset', 'Dataset', { dataset_meta: { dataset_id } }, status)
    expect(answer.code).toBe(code)
    expect(JSON.stringify(answer)).not.toContain(dataDir)
  })

  it('is saved in the store and nowhere else, and found again by its owner', async () => {
    const id = await dataset(numbers(3))
    await call(id, 'save_as', { output_path: 'mine/numbers.jsonl', format: null, batch_size: 1000, mode: 'immediate' })
    const saved = await dataset({ dataset_id: 'mine/numbers' })
    expect(await call(saved, '__len__')).toBe(3)
    const body = { processor_type: 'dataset', class_type: 'Dataset', dataset_meta: { dataset_id: 'mine/numbers' } }
    await server.call('processorCreate', { key: 'tml-bert', body }, 404)
    for (const output_path of ['/tmp/x.jsonl', '../x.jsonl', 'a/../../x.jsonl', '']) {
      const answer = await call(id, 'save_as', { output_path, format: 'jsonl' }, 400)
      expect(answer.code).toBe('INVALID_DATASET_PATH')
    }
    expect((await call(id, 'save_as', { output_path: 'x.parquet' }, 400)).code).toBe('UNSUPPORTED_NAME')
  })
})

describe('an object', () => {
  let tenants = 0
  beforeEach(() => {
    key = `tml-tenant-${tenants++}`
  })

  it('is nobody else’s, and that is not told apart from none', async () => {
    const id = await dataset(numbers(1))
    const asked = { key: 'tml-bert', body: { processor_id: id, function: '__len__' } }
    const other = await server.call('processorCall', asked, 404)
    const unknown = `pid:${'0'.repeat(32)}`
    const none = await server.call(
      'processorCall',
      { key: 'tml-bert', body: { ...asked.body, processor_id: unknown } },
      404,
    )
    const same = (answer: Json, id: string) => JSON.stringify({ ...answer, request_id: '' }).replaceAll(id, 'ID')
    expect(same(other, id)).toBe(same(none, unknown))
    const loading = { processor_type: 'dataloader', class_type: 'DataLoader', dataset: id, batch_size: 1 }
    await server.call('processorCreate', { key: 'tml-bert', body: loading }, 404)
    await server.call('processorHeartbeat', { key: 'tml-bert', body: { processor_id: id } }, 404)
  })

  it.each<[string, object, string]>([
    ['constructor', {}, 'UNKNOWN_NAME'],
    ['__class__', {}, 'UNKNOWN_NAME'],
    ['open', {}, 'UNKNOWN_NAME'],
    ['map', { preprocess_func: 'lambda row: row' }, 'UNKNOWN_NAME'],
    ['map', { preprocess_func: { _TWINKLE_TYPE_: 'function', code: 'x' } }, 'INVALID_ARGUMENT'],
    ['map', { preprocess_func: 'AlpacaProcessor', eval: 'x' }, 'UNKNOWN_ARGUMENT'],
    ['filter', { filter_func: 'F', dataset_meta: null, init_args: null }, 'UNKNOWN_NAME'],
    ['set_template', { template_func: 'Template' }, 'NO_TEMPLATE_MODEL'],
    ['set_template', { template_func: 'Template', model_id: 'ms://org/other' }, 'UNKNOWN_BASE_MODEL'],
    ['__getitem__', { idx: 7 }, 'INVALID_ARGUMENT'],
  ])('refuses %s %j', async (name, kwargs, code) => {
    expect((await call(await dataset(numbers(1)), name, kwargs, 400)).code).toBe(code)
  })

  it('stays what it was when a call fails half-way', async () => {
    const id = await dataset({ data: [{ instruction: 'a' }, { instruction: 7 }] })
    await call(id, 'map', { preprocess_func: 'AlpacaProcessor' }, 400)
    expect(await call(id, '__getitem__', { idx: 0 })).toEqual({ instruction: 'a' })
  })

  it('that another one is made of is changed under it', async () => {
    const id = await dataset({ data: [{ instruction: 'a', n: 0 }] })
    const { processor_id: loader } = await create('dataloader', 'DataLoader', { dataset: id, batch_size: 1 })
    await call(id, 'map', { preprocess_func: 'AlpacaProcessor' })
    expect((await call(loader, '__next__'))[0]).toMatchObject({ n: 0, messages: expect.any(Array) })
  })

  it('of other kinds is called', async () => {
    const { processor_id: reward } = await create('reward', 'FormatReward')
    const trajectories = [{ messages: [{ role: 'assistant', content: '<think>a</think><answer>b</answer>' }] }]
    expect(await call(reward, '__call__', { trajectories })).toEqual([1])
    const { processor_id: processor } = await create('processor', 'InputProcessor', {
      device_mesh: null,
      padding_free: false,
    })
    expect(await call(processor, '__call__', { inputs: [{ input_ids: [1, 2] }] })).toMatchObject([
      { input_ids: [1, 2] },
    ])
  })

  it('lives half an hour longer than its session, and no object can be made in one that is over', async () => {
    const over = (await server.call('twinkleCreateSession', { key, body: {} })).session_id
    const asked = { key, headers: { 'x-twinkle-session-id': over } }
    const body = { processor_type: 'dataset', class_type: 'Dataset', dataset_meta: numbers(1) }
    const { processor_id } = await server.call('processorCreate', { ...asked, body })
    await server.call('finishSession', { key, params: { session_id: over }, body: { reason: { type: 'success' } } })
    await server.call('processorCreate', { ...asked, body }, 404)
    expect(await call(processor_id, '__len__')).toBe(1)
    const db = await openDatabase(server.place)
    const bare = processor_id.slice('pid:'.length)
    await db
      .updateTable('processors')
      .set({ used_at: Date.now() - 31 * 60_000 })
      .where('id', '=', bare)
      .execute()
    await db.destroy()
    await server.restart()
    await call(processor_id, '__len__', {}, 404)
  })
})

it('a tenant may have twenty, and no more', async () => {
  const body = { processor_type: 'reward', class_type: 'MathReward' }
  for (let i = 0; i < 20; i++) await server.call('processorCreate', { key: 'tml-carl', body })
  const answer = await server.call('processorCreate', { key: 'tml-carl', body }, 403)
  expect(answer).toMatchObject({ code: 'PROCESSORS_FULL', detail: expect.stringContaining('20') })
})

it('clients without a session keep their objects by heartbeats', async () => {
  const older = { key: 'tml-dora', headers: { serve_multiplexed_model_id: '20261123_234042-d3a9b82a' } }
  const made = await Promise.all(
    ['MathReward', 'FormatReward'].map((class_type) =>
      server.call('processorCreate', { ...older, body: { processor_type: 'reward', class_type } }),
    ),
  )
  const processor_id = made.map(({ processor_id }) => processor_id).join(',')
  expect(await server.call('processorHeartbeat', { ...older, body: { processor_id } })).toEqual({ status: 'ok' })
  await server.call('processorHeartbeat', { ...older, body: { processor_id: `${processor_id},pid:0` } }, 404)
})

it('while a large data set is encoded, others are served', async () => {
  const rows = Array.from({ length: 2000 }, (_, i) => ({ instruction: `Say ${'word '.repeat(20)}${i}`, output: 'x' }))
  const id = await dataset({ data: rows })
  await call(id, 'map', { preprocess_func: 'AlpacaProcessor' })
  await call(id, 'set_template', { template_func: 'Template', model_id: 'org/tiny' })
  let isEncoded = false
  const encoding = call(id, 'encode').then(() => {
    isEncoded = true
  })
  let answered = 0
  while (!isEncoded && answered < 5) {
    await server.call('twinkleHealthz')
    if (!isEncoded) answered++
  }
  await encoding
  expect(answered).toBe(5)
})
