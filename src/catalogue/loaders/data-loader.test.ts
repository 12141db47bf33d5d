import { beforeEach, describe, expect, it } from 'vitest'
import { END } from '../object.ts'
import { TestWorld } from '../testing/world.ts'
import { orderOf } from './order.ts'

let world: TestWorld
beforeEach(() => {
  world = new TestWorld()
})

const rows = (count: number) => Array.from({ length: count }, (_, n) => ({ n }))
const data = (count: number, kind = 'Dataset') => world.make('dataset', kind, { dataset_meta: { data: rows(count) } })
const loader = async (count: number, kwargs: object, kind?: string) =>
  world.make('dataloader', 'DataLoader', { dataset: await data(count, kind), ...kwargs })
const next = async (id: string) => {
  const batch = await world.call(id, '__next__')
  return batch === END ? END : batch.map(({ n }: { n: number }) => n)
}
const epoch = async (id: string) => {
  await world.call(id, '__iter__')
  const batches = []
  for (;;) {
    const batch = await next(id)
    if (batch === END) return batches
    batches.push(batch)
  }
}

describe('batches', () => {
  it.each<[string, object, number[][]]>([
    ['the last one may be smaller', {}, [[0, 1], [2, 3], [4]]],
    [
      'unless that is left out',
      { drop_last: true },
      [
        [0, 1],
        [2, 3],
      ],
    ],
    [
      'or has to have a size',
      { min_batch_size: 2 },
      [
        [0, 1],
        [2, 3],
      ],
    ],
  ])('%s', async (_, kwargs, expected) => {
    for (const kind of ['Dataset', 'LazyDataset', 'IterableDataset']) {
      const id = await loader(5, { batch_size: 2, ...kwargs }, kind)
      expect(await epoch(id)).toEqual(expected)
      // A loop over it again is the next epoch.
      expect(await epoch(id)).toEqual(expected)
      expect(await next(id)).toBe(END)
    }
    expect(await world.call(await loader(5, { batch_size: 2, ...kwargs }), '__len__')).toBe(expected.length)
  })

  it('are made equal in length where a processor is set', async () => {
    const encoded = [
      { input_ids: [1, 2], labels: [2, -100] },
      { input_ids: [3], labels: [-100] },
    ]
    const dataset = await world.make('dataset', 'Dataset', { dataset_meta: { data: encoded } })
    const id = await world.make('dataloader', 'DataLoader', { dataset, batch_size: 2, num_workers: 4 })
    await world.call(id, 'set_processor', { processor_cls: 'InputProcessor', padding_side: 'left' })
    expect((await world.call(id, '__next__')).map(({ input_ids }: { input_ids: number[] }) => input_ids)).toEqual([
      [1, 2],
      [0, 3],
    ])
    await expect(world.call(id, 'set_processor', { processor_cls: 'Mine' })).rejects.toThrow(
      'There is no processor "Mine".',
    )
  })
})

describe('shuffled', () => {
  it('each epoch has another order, of all rows, the same for the same seed', async () => {
    const [first, second] = [
      await loader(50, { batch_size: 50, shuffle: true }),
      await loader(50, { batch_size: 50, shuffle: true }),
    ]
    const [one] = await epoch(first)
    const [two] = await epoch(first)
    expect([...one].sort((a, b) => a - b)).toEqual([...Array(50).keys()])
    expect(two).not.toEqual(one)
    expect((await epoch(second))[0]).toEqual(one)
    const other = await loader(50, { batch_size: 50, shuffle: true, seed: 7 })
    expect((await epoch(other))[0]).not.toEqual(one)
  })

  it('by an order that is written down', () => {
    // Held, so that a run can be resumed by a later version.
    expect([...orderOf(8, 42, 0)]).toMatchInlineSnapshot(`
      [
        6,
        3,
        0,
        1,
        5,
        4,
        7,
        2,
      ]
    `)
    expect([...orderOf(8, null, 3)]).toEqual([0, 1, 2, 3, 4, 5, 6, 7])
  })
})

describe('resumed', () => {
  it.each([
    ['in order', {}],
    ['shuffled', { shuffle: true, seed: 3 }],
    ['without the rest', { drop_last: true }],
  ])('%s, goes on where another loader stopped, epochs later', async (_, kwargs) => {
    const stopped = await loader(7, { batch_size: 2, ...kwargs })
    const all = [...(await epoch(stopped)), ...(await epoch(stopped))]
    await world.call(stopped, '__iter__')
    all.push(await next(stopped))
    const state = await world.call(stopped, 'get_state')
    const resumed = await loader(7, { batch_size: 2, ...kwargs })
    expect(await world.call(resumed, 'resume_from_checkpoint', state)).toBeNull()
    expect(await world.call(resumed, 'get_state')).toEqual(state)
    expect((await epoch(resumed))[0]).toEqual(await next(stopped))
    // And the epoch after that is a whole one.
    expect((await epoch(resumed)).length).toBe(all.length > 8 ? 4 : 3)
  })

  it('at the beginning, where nothing was consumed', async () => {
    const id = await loader(4, { batch_size: 2 })
    await next(id)
    await world.call(id, 'skip_consumed_samples', { consumed_train_samples: null })
    expect(await epoch(id)).toEqual([
      [0, 1],
      [2, 3],
    ])
  })

  it('in a stream, by passing over rows', async () => {
    const id = await loader(5, { batch_size: 2 }, 'IterableDataset')
    await world.call(id, 'skip_consumed_samples', { consumed_train_samples: 3 })
    expect(await epoch(id)).toEqual([[3, 4]])
    expect(await epoch(id)).toEqual([[0, 1], [2, 3], [4]])
  })

  it('made anew in the middle of an epoch', async () => {
    const id = await loader(6, { batch_size: 2, shuffle: true })
    await next(id)
    const twin = await loader(6, { batch_size: 2, shuffle: true })
    world.restore(twin, world.position(id))
    expect([await next(twin), await next(twin), await next(twin)]).toEqual([await next(id), await next(id), END])
  })
})

it('a loop that is left and begun anew is the same epoch', async () => {
  const id = await loader(4, { batch_size: 2 })
  await next(id)
  expect(await epoch(id)).toEqual([
    [0, 1],
    [2, 3],
  ])
  expect(await world.call(id, 'get_state')).toEqual({ consumed_train_samples: 4 })
})

it('rows that a check finds unfit are passed over', async () => {
  const dataset = await world.make('dataset', 'LazyDataset', {
    dataset_meta: {
      data: [{ instruction: 'a' }, { instruction: 'b'.repeat(400) }, { instruction: 'c' }, { instruction: 'd' }],
    },
  })
  await world.call(dataset, 'map', { preprocess_func: 'AlpacaProcessor' })
  await world.call(dataset, 'set_template', { template_func: 'Template', max_length: 50 })
  await world.call(dataset, 'check')
  const id = await world.make('dataloader', 'DataLoader', { dataset, batch_size: 2 })
  const words = async () =>
    (await world.call(id, '__next__')).map(({ instruction }: { instruction: string }) => instruction)
  expect([await words(), await words()]).toEqual([['a', 'c'], ['d']])
})

describe('refused by name:', () => {
  it.each<[string, object, string]>([
    ['no batch size', {}, 'The loader DataLoader needs the argument batch_size.'],
    ['a batch of nothing', { batch_size: 0 }, 'cannot take batch_size = 0'],
    ['a callable', { batch_size: 1, collate_fn: 'x' }, 'has no argument "collate_fn"'],
    ['a minimum above the size', { batch_size: 1, min_batch_size: 2 }, 'cannot take min_batch_size = 2'],
  ])('%s', (_, kwargs, message) => expect(loader(3, kwargs)).rejects.toThrow(message))

  it('what is no data set', async () => {
    const reward = await world.make('reward', 'FormatReward')
    for (const dataset of [reward, null, 7]) {
      await expect(world.make('dataloader', 'DataLoader', { dataset, batch_size: 1 })).rejects.toThrow(
        'cannot take dataset',
      )
    }
  })

  it('an order of a stream', () => {
    return expect(loader(3, { batch_size: 1, shuffle: true }, 'IterableDataset')).rejects.toThrow(
      'An IterableDataset cannot be shuffled',
    )
  })
})
