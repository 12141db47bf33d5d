// Who waits for whom on the real engine, counted in micro-batches: nothing here looks at a clock.

import sinon from 'sinon'
import { afterEach, beforeEach, expect, it } from 'vitest'
import type { TrainingItem } from '../backend.ts'
import type { Batch } from './batch.ts'
import { Executor } from './executor.ts'
import { goldenTrainer, item, liveAdapter, outcomes, someDatum } from './testing/harness.ts'
import type { Trainer } from './trainer.ts'

const MODEL = 'llama-tied'
/** One datum of this length fills a micro-batch. */
const FULL = 30

let trainer: Trainer
let runs: sinon.SinonSpy<[Batch], unknown>
beforeEach(async () => {
  trainer = await goldenTrainer(MODEL, { budget: { tokens: 32 } })
  runs = sinon.spy(Executor.prototype, 'run') as unknown as typeof runs
})
afterEach(async () => {
  runs.restore()
  await trainer.close()
})

/** Settles when so many micro-batches have begun. */
async function begun(count: number): Promise<void> {
  while (runs.callCount < count) await new Promise(setImmediate)
}

const parts = (count: number, length: number) => Array.from({ length: count }, (_, i) => someDatum(i, length))
function submit(adapter: string, datums: number, length = FULL, rest: Partial<TrainingItem> = {}) {
  const work = { adapter: liveAdapter(MODEL), item: item(parts(datums, length), { adapter, ...rest }) }
  return { operation: work.item.operation, done: outcomes(trainer, [work]) }
}
const share = (party: string, weight = 1) => ({ share: { party, weight } })
/** For each micro-batch, the adapters that it held. */
const order = () =>
  runs.args.map(([batch]) => batch.parts.map((part) => (part.work as unknown as { adapter: string }).adapter))

it('a short operation that comes during a large one waits for one micro-batch of it', async () => {
  const large = submit('large', 12)
  await begun(3)
  const short = submit('short', 1, 5)
  const [outcome] = await short.done
  expect(outcome).toHaveProperty('result')
  const [before, own] = [3, 1]
  expect(runs.callCount).toBeLessThanOrEqual(before + own + 1)
  expect(order()[3]).toEqual(['short'])
  expect((await large.done)[0]).toHaveProperty('result')
})

it('that holds within one party too, and for its next short one', async () => {
  const large = submit('large', 12, FULL, share('anna'))
  await begun(2)
  await submit('short', 1, FULL, share('anna')).done
  await submit('short', 1, FULL, share('anna')).done
  const between = order().slice(2)
  expect(between.filter(([adapter]) => adapter === 'large').length).toBeLessThanOrEqual(4)
  await large.done
})

it('large operations of several parties take turns, by weight', async () => {
  const all = [
    submit('a', 6, FULL, share('anna')),
    submit('b', 6, FULL, share('bert')),
    submit('c', 12, FULL, share('cleo', 2)),
  ]
  await Promise.all(all.map(({ done }) => done))
  const firstHalf = order().slice(0, 12).flat()
  const count = (adapter: string) => firstHalf.filter((name) => name === adapter).length
  expect([count('a'), count('b'), count('c')]).toEqual([3, 3, 6])
})

it('a party with many adapters gets no more than one with a single one', async () => {
  const many = Array.from({ length: 8 }, (_, i) => submit(`anna ${i}`, 2, FULL, share('anna')))
  const one = submit('bert', 8, FULL, share('bert'))
  await one.done
  const shares = order().flat()
  expect(shares.filter((name) => name === 'bert')).toHaveLength(8)
  expect(shares.filter((name) => name.startsWith('anna')).length).toBeLessThanOrEqual(9)
  await Promise.all(many.map(({ done }) => done))
})

it('what is left of a micro-batch goes to whoever is next, over the borders of calls', async () => {
  const all = ['a', 'b', 'c'].map((name) => submit(name, 1, 10))
  await Promise.all(all.map(({ done }) => done))
  expect(order()).toEqual([['a', 'b', 'c']])
})

it('a call that nobody listens to any more frees its turns', async () => {
  const adapter = liveAdapter(MODEL)
  const stream = trainer.train([{ adapter, item: item(parts(50, FULL)) }])
  await begun(1)
  await stream.return?.()
  await submit('next', 1).done
  expect(runs.callCount).toBeLessThanOrEqual(3)
  expect(adapter.gradient).toBeNull()
})
