// Data sets as callers use them: made by name, called by name.

import { beforeEach, describe, expect, it } from 'vitest'
import { END } from '../object.ts'
import type { Pace } from '../pace.ts'
import { TestWorld } from '../testing/world.ts'
import { bestFit, groupsOf } from './packing.ts'
import { linesOfRows, rowsOfText } from './table-text.ts'

let world: TestWorld
beforeEach(() => {
  world = new TestWorld()
})

const numbers = (count: number, from = 0) => Array.from({ length: count }, (_, i) => ({ n: from + i }))
const chats = (count: number) =>
  Array.from({ length: count }, (_, i) => ({ query: 'q'.repeat(i), response: '{{NAME}}' }))
const meta = (data: unknown, more: object = {}) => ({ dataset_meta: { data, ...more } })
const rowsOf = async (id: string) => {
  await world.call(id, '__iter__')
  const rows = []
  for (;;) {
    const row = await world.call(id, '__next__')
    if (row === END) return rows
    rows.push(row)
  }
}
const ns = (rows: { n: number }[]) => rows.map(({ n }) => n)

describe('the rows that are meant', () => {
  const range = (start: number, stop: number, step = 1) => ({
    data_slice: { _slice_type_: 'range', start, stop, step },
  })

  it.each<[string, object, number[]]>([
    ['all', {}, [0, 1, 2, 3]],
    ['a range', range(1, 4, 2), [1, 3]],
    ['a range backwards', range(3, 0, -1), [3, 2, 1]],
    ['an empty range', range(3, 1), []],
    ['a list', { data_slice: { _slice_type_: 'list', values: [2, 0, 2] } }, [2, 0, 2]],
    ['more than there are: from the beginning again', range(2, 7), [2, 3, 0, 1, 2]],
  ])('%s', async (_, slice, expected) => {
    expect(ns(await rowsOf(await world.make('dataset', 'Dataset', meta(numbers(4), slice))))).toEqual(expected)
  })

  it('may come as columns, as JSON in a text, or from a file', async () => {
    const columns = await world.make('dataset', 'Dataset', meta({ n: [5, 6], t: ['a', 'b'] }))
    expect(await rowsOf(columns)).toEqual([
      { n: 5, t: 'a' },
      { n: 6, t: 'b' },
    ])
    const tagged = JSON.stringify({
      _TWINKLE_TYPE_: 'DatasetMeta',
      dataset_id: 'ms://a/b',
      data: null,
      data_slice: null,
    })
    world.files['ms://a/b'] = numbers(2)
    expect(ns(await rowsOf(await world.make('dataset', 'Dataset', { dataset_meta: tagged })))).toEqual([0, 1])
  })

  it.each<[string, object, string]>([
    ['neither rows nor a name', meta(null), 'cannot take dataset_id = ""'],
    ['rows that are none', meta([1]), 'cannot take data = [1]'],
    ['columns of two lengths', meta({ a: [1], b: [] }), 'cannot take data'],
    ['a slice before the beginning', meta(numbers(2), range(-1, 1)), 'cannot take data_slice'],
    ['a slice of another kind', meta(numbers(2), { data_slice: [1, 2] }), 'cannot take data_slice'],
    ['a slice without steps', meta(numbers(2), range(0, 2, 0)), 'cannot take data_slice'],
    [
      'a slice that would never end',
      meta(numbers(2), range(0, 1e15)),
      'A data set of 1000000000000000 rows is larger than 1000000.',
    ],
    ['text that is no JSON', { dataset_meta: '{' }, 'cannot take dataset_meta = "{"'],
    ['an unknown argument', { ...meta([]), batch: 1 }, 'The data set Dataset has no argument "batch".'],
  ])('refused: %s', async (_, kwargs, message) => {
    await expect(world.make('dataset', 'Dataset', { ...kwargs })).rejects.toThrow(message)
  })
})

describe.each(['Dataset', 'LazyDataset', 'IterableDataset'])('a %s', (kind) => {
  it('goes through its steps: map, filter, encode', async () => {
    const id = await world.make('dataset', kind, meta(chats(6)))
    await world.call(id, 'map', {
      preprocess_func: 'SelfCognitionProcessor',
      init_args: { model_name: 'Ada' },
      num_proc: 4,
    })
    await world.call(id, 'filter', { filter_func: 'NonEmptyFilter', init_args: { column: 'query' } })
    await world.call(id, 'set_template', { template_func: 'Template', model_id: 'ms://twinkle/tiny', max_length: 512 })
    await world.call(id, 'encode', { batched: true, add_generation_prompt: false, remove_columns: ['response'] })
    const rows = await rowsOf(id)
    expect(rows.map(({ query }) => query.length)).toEqual([1, 2, 3, 4, 5])
    expect(rows[0]).not.toHaveProperty('response')
    expect(rows[0].messages[2]).toEqual(expect.objectContaining({ role: 'assistant', content: 'Ada' }))
    expect(rows[0].labels).toHaveLength(rows[0].input_ids.length)
    // The same row again, in a new iteration.
    expect((await rowsOf(id))[4]).toEqual(rows[4])
  })

  it('leaves out what a check finds unfit', async () => {
    const id = await world.make(
      'dataset',
      kind,
      meta([{ instruction: 'a' }, { instruction: 'b'.repeat(400) }, { instruction: 'c' }]),
    )
    await world.call(id, 'map', { preprocess_func: 'AlpacaProcessor' })
    await world.call(id, 'set_template', { template_func: 'Template', max_length: 50 })
    await world.call(id, 'check')
    expect((await rowsOf(id)).map(({ instruction }) => instruction)).toEqual(['a', 'c'])
  })

  it('is several at once, in turns or one after the other', async () => {
    for (const [interleave, expected] of [
      [true, kind === 'LazyDataset' ? [0, 10, 1, 11, 2, 10] : [0, 10, 1, 11]],
      [false, [0, 1, 2, 10, 11]],
    ] as const) {
      const id = await world.make('dataset', kind, meta(numbers(3)))
      await world.call(id, 'add_dataset', meta(numbers(2, 10), { subset_name: 'other' }))
      await expect(rowsOf(id)).rejects.toThrow('The 2 data sets of this object are not mixed.')
      await world.call(id, 'mix_dataset', { interleave })
      expect(ns(await rowsOf(id))).toEqual(expected)
    }
  })

  it('maps one of several where it is named', async () => {
    world.files = { a: chats(1), b: [{ instruction: 'i', output: 'o' }] } as never
    const id = await world.make('dataset', kind, { dataset_meta: { dataset_id: 'a' } })
    await world.call(id, 'add_dataset', { dataset_meta: { dataset_id: 'b' } })
    await world.call(id, 'map', { preprocess_func: 'SelfCognitionProcessor', dataset_meta: { dataset_id: 'a' } })
    await world.call(id, 'map', {
      preprocess_func: 'AlpacaProcessor',
      dataset_meta: JSON.stringify({ dataset_id: 'b' }),
    })
    await world.call(id, 'mix_dataset', { interleave: false })
    expect((await rowsOf(id)).map(({ messages }) => messages.length)).toEqual([3, 2])
    await expect(world.call(id, 'map', { preprocess_func: 'F' })).rejects.toThrow('There is no preprocessor "F".')
  })

  it('saves all of its rows, or those that were used', async () => {
    const id = await world.make('dataset', kind, meta(numbers(3)))
    await world.call(id, 'save_as', { output_path: 'all.jsonl', format: null, batch_size: 1000, mode: 'immediate' })
    await world.call(id, 'save_as', { output_path: 'used.csv', mode: 'training' })
    await world.call(id, '__next__')
    await world.call(id, '__next__')
    await world.call(id, 'flush_save')
    await world.call(id, '__next__')
    expect(world.saved).toEqual({ 'all.jsonl': '{"n":0}\n{"n":1}\n{"n":2}\n', 'used.csv': 'n\n0\n1\n' })
    await expect(world.call(id, 'save_as', { output_path: 'x.parquet' })).rejects.toThrow(
      'The table format "parquet" is not done here',
    )
  })

  it('goes on where it stood, made anew', async () => {
    const id = await world.make('dataset', kind, meta(numbers(4)))
    for (let i = 0; i < 2; i++) await world.call(id, '__next__')
    const twin = await world.make('dataset', kind, meta(numbers(4)))
    world.restore(twin, world.position(id))
    expect([
      await world.call(twin, '__next__'),
      await world.call(twin, '__next__'),
      await world.call(twin, '__next__'),
    ]).toEqual([{ n: 2 }, { n: 3 }, END])
  })

  it('refuses what is no function of it, with those that are', async () => {
    const id = await world.make('dataset', kind, meta([]))
    for (const name of ['constructor', '__class__', 'open', '__proto__', 'toString']) {
      await expect(world.call(id, name)).rejects.toThrow(`There is no function of ${kind} "${name}".`)
    }
    await expect(world.call(id, 'encode')).rejects.toThrow(`This ${kind} has no template.`)
    await expect(world.call(id, 'map', { preprocess_func: { code: 'x' } })).rejects.toThrow(
      'cannot take preprocess_func',
    )
    await expect(world.call(id, 'cast_column', { column: 'image' })).rejects.toThrow('is not done here')
  })
})

describe('rows by their places', () => {
  it.each(['Dataset', 'LazyDataset'])('of a %s', async (kind) => {
    const id = await world.make('dataset', kind, meta(numbers(3)))
    expect(await world.call(id, '__len__')).toBe(3)
    expect(await world.call(id, '__getitem__', { idx: 1 })).toEqual({ n: 1 })
    expect(await world.call(id, '__getitem__', { idx: -1 })).toEqual({ n: 2 })
    for (const idx of [3, -4, 1.5, '0', null]) {
      await expect(world.call(id, '__getitem__', { idx })).rejects.toThrow(`cannot take idx = ${JSON.stringify(idx)}`)
    }
  })

  it('an IterableDataset has none', async () => {
    const id = await world.make('dataset', 'IterableDataset', meta(numbers(3)))
    await expect(world.call(id, '__len__')).rejects.toThrow('There is no function of IterableDataset "__len__".')
  })

  it('a LazyDataset keeps what it loaded, a split would move places', async () => {
    const id = await world.make('dataset', 'LazyDataset', meta([]))
    await world.call(id, 'set_template', { template_func: 'Template', truncation_strategy: 'split' })
    await expect(world.call(id, 'encode')).rejects.toThrow('cannot encode with truncation_strategy = split')
  })
})

describe('packing', () => {
  it('puts the longest first, each where the least room is left', () => {
    expect(bestFit([4, 8, 1, 4, 2, 1], (size) => size, 10)).toEqual([
      [8, 2],
      [4, 4, 1, 1],
    ])
    expect(bestFit([12, 3], (size) => size, 10)).toEqual([[12], [3]])
  })

  it('of many rows leaves none out and fills no row beyond the limit', () => {
    const lengths = Array.from({ length: 2500 }, (_, i) => (i * 37) % 90)
    const groups = groupsOf(lengths, 100)
    expect(groups.flat().sort((a, b) => a - b)).toEqual([...lengths.keys()])
    const sizes = groups.map((group) => group.reduce((sum, i) => sum + (lengths[i] as number), 0))
    expect(Math.max(...sizes)).toBeLessThanOrEqual(100)
    expect(groups.length).toBeLessThan((1.02 * lengths.reduce((sum, n) => sum + n, 0)) / 100 + 1)
  })

  const packing = async (kind: string, more: object = {}) => {
    const id = await world.make('dataset', kind, { ...meta(chats(5)), packing_num_proc: 1, ...more })
    await world.call(id, 'map', { preprocess_func: 'SelfCognitionProcessor' })
    const named = kind === 'PackingDataset' ? 'template_func' : 'template_cls'
    await world.call(id, 'set_template', { [named]: 'Template', max_length: 200 })
    return id
  }

  it('a PackingDataset has rows in which positions begin anew', async () => {
    const id = await packing('PackingDataset')
    await expect(world.call(id, 'pack_dataset')).rejects.toThrow('The data set is not encoded.')
    await world.call(id, 'encode', {})
    await expect(world.call(id, '__len__')).rejects.toThrow('The data set is not packed.')
    await world.call(id, 'pack_dataset')
    const count = await world.call(id, '__len__')
    expect(count).toBeLessThan(5)
    const row = await world.call(id, '__getitem__', { index: 0 })
    expect(row.position_ids.filter((position: number) => position === 0)).toHaveLength(row.length.length)
    expect(row.input_ids).toHaveLength(row.length.reduce((sum: number, n: number) => sum + n, 0))
    expect(row.input_ids.length).toBeLessThanOrEqual(200)
    expect((await rowsOf(id)).flatMap(({ query }) => query).sort()).toEqual(chats(5).map(({ query }) => query))
  })

  it('an IterablePackingDataset packs on the way', async () => {
    const id = await packing('IterablePackingDataset', { packing_interval: 2 })
    await expect(world.call(id, '__next__')).rejects.toThrow('The data set is not packed.')
    await world.call(id, 'pack_dataset')
    const rows = await rowsOf(id)
    expect(rows.length).toBeLessThan(5)
    expect(rows.flatMap(({ query }) => query).sort()).toEqual(chats(5).map(({ query }) => query))
  })

  it('that is cyclic begins again, but not where no row is left', async () => {
    const id = await packing('IterablePackingDataset', { cyclic: true })
    await world.call(id, 'pack_dataset')
    for (let i = 0; i < 20; i++) expect((await world.call(id, '__next__')).input_ids.length).toBeGreaterThan(0)
    const empty = await packing('IterablePackingDataset', { cyclic: true })
    await world.call(empty, 'set_template', { template_cls: 'Template', max_length: 2, truncation_strategy: 'delete' })
    await world.call(empty, 'pack_dataset')
    expect(await world.call(empty, '__next__')).toBe(END)
  })
})

describe('text of tables', () => {
  it('is read as JSON lines, a list, or CSV', () => {
    expect(rowsOfText('\uFEFF{"a":1}\n\n{"a":2}\n', 'jsonl', 'f')).toEqual([{ a: 1 }, { a: 2 }])
    expect(rowsOfText(' [{"a":1}]', 'json', 'f')).toEqual([{ a: 1 }])
    expect(rowsOfText('{"a":1}\n{"a":2}', 'json', 'f')).toEqual([{ a: 1 }, { a: 2 }])
    expect(rowsOfText('a,b,c\r\n1,"x, ""y""\nz",1\r\n2.5,,x\r\n', 'csv', 'f')).toEqual([
      { a: 1, b: 'x, "y"\nz', c: '1' },
      { a: 2.5, b: '', c: 'x' },
    ])
    expect(rowsOfText('a,b\n1,', 'csv', 'f')).toEqual([{ a: 1, b: '' }])
    expect(rowsOfText('', 'csv', 'f')).toEqual([])
  })

  it('is refused by its line', () => {
    expect(() => rowsOfText('{"a":1}\n{', 'jsonl', 'f')).toThrow('cannot take dataset_id = "line 2 of f"')
    expect(() => rowsOfText('[1]', 'json', 'f')).toThrow('cannot take dataset_id = "f"')
    expect(() => rowsOfText('a,b\n1', 'csv', 'f')).toThrow('cannot take dataset_id = "record 2 of f"')
    expect(() => rowsOfText('a\n"x', 'csv', 'f')).toThrow('cannot take dataset_id = "f"')
  })

  it('comes back as it was written', () => {
    const rows = [
      { a: 1, b: 'x,"\n' },
      { a: 2, b: '' },
    ]
    for (const format of ['csv', 'jsonl'] as const)
      expect(rowsOfText(linesOfRows(rows, format).join(''), format, 'f')).toEqual(rows)
  })
})

describe('memory', () => {
  const pace = (most: number): Pace & { held: number } => ({
    held: 0,
    rest: async () => {},
    hold(bytes) {
      if (this.held + bytes > most) throw new Error('full')
      this.held += bytes
    },
  })

  it('is counted, and what fails is not kept', async () => {
    const counted = pace(40_000)
    const id = await world.make('dataset', 'Dataset', meta(chats(20)), counted)
    const loaded = counted.held
    expect(loaded).toBeGreaterThan(0)
    await world.call(id, 'map', { preprocess_func: 'SelfCognitionProcessor' }, counted)
    const mapped = counted.held
    await world.call(id, 'set_template', { template_func: 'Template' })
    await expect(world.call(id, 'encode', {}, counted)).rejects.toThrow('full')
    expect(await world.call(id, '__getitem__', { idx: 0 })).not.toHaveProperty('input_ids')
    expect(counted.held).toBe(mapped)
  })

  it('is not taken by rows that are nested without end', async () => {
    const deep = `${'['.repeat(5000)}${']'.repeat(5000)}`
    await expect(world.make('dataset', 'Dataset', { dataset_meta: `{"data":[{"a":${deep}}]}` })).rejects.toThrow(
      'nested more than 64 deep',
    )
  })
})
