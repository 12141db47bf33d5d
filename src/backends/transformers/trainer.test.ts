import sinon from 'sinon'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { TrainingDatum } from '../backend.ts'
import { resolveLoss } from '../losses.ts'
import type { Adapter } from './adapter.ts'
import { packBatch } from './batch.ts'
import { Compute } from './compute.ts'
import { Executor } from './executor.ts'
import { optimizerStep } from './optimizer.ts'
import { absoluteDeviation, goldenModel, relativeDeviation } from './testing/goldens.ts'
import {
  ADAM,
  bits,
  freshAdapter,
  goldenTrainer,
  item,
  liveAdapter,
  outcomes,
  results,
  someDatum,
} from './testing/harness.ts'
import { Trainer, type TrainingWork } from './trainer.ts'
import { inlineWeights } from './weights.ts'

const MODEL = 'llama-tied'
const datums = (...lengths: number[]) => lengths.map((length, i) => someDatum(10 * lengths.length + i, length))
const gradientOf = (adapter: Adapter) => {
  if (!adapter.gradient) throw new Error('the adapter has no gradient')
  return adapter.gradient
}

let trainer: Trainer
beforeAll(async () => {
  trainer = await goldenTrainer(MODEL)
})
afterAll(() => trainer.close())

/** Trains each work by itself on a copy of its adapter: what company must not change. */
async function alone(work: readonly TrainingWork[]) {
  const all = []
  for (const { item: each, adapter } of work) {
    const copy = liveAdapter(MODEL)
    copy.replace(adapter.params, null)
    const [result] = await results(trainer, [{ item: each, adapter: copy }])
    all.push({ result, gradient: gradientOf(copy) })
  }
  return all
}

describe('packing', () => {
  it('computes operations of several tenants in one pass, each as if it were alone', async () => {
    const policy = datums(20, 9).map((d) => ({
      ...d,
      logprobs: new Float32Array(d.tokens.length).fill(-6),
      advantages: new Float32Array(d.tokens.length).fill(0.5),
    }))
    const work = [
      { adapter: liveAdapter(MODEL, { seed: '5' }), item: item(datums(12, 30)) },
      { adapter: liveAdapter(MODEL, { seed: '6' }), item: item(policy, { loss: resolveLoss('ppo') }) },
      { adapter: liveAdapter(MODEL, { seed: '7' }), item: item(datums(5)) },
    ]
    const together = await results(trainer, work)
    const singly = await alone(work)
    for (const [i, { plan, loss, logprobs }] of together.entries()) {
      expect(plan.batches).toHaveLength(1)
      expect(JSON.stringify(plan.batches[0])).toContain('[76,12,') // 76 tokens and 12 columns: all three are in it
      expect(Math.abs(loss / (singly[i]?.result?.loss ?? 0) - 1)).toBeLessThan(1e-5)
      logprobs.forEach((row, d) => {
        expect(absoluteDeviation(row, singly[i]?.result?.logprobs[d] ?? [])).toBeLessThan(1e-5)
      })
      const adapter = work[i]?.adapter as Adapter
      expect(relativeDeviation(gradientOf(adapter), singly[i]?.gradient ?? [])).toBeLessThan(1e-5)
    }
  })

  it('mixes ranks and projections: an adapter that lacks a projection gets nothing of it', async () => {
    const attention = liveAdapter(MODEL, { rank: 2, trainMlp: false, trainUnembed: false })
    const all = liveAdapter(MODEL, { rank: 8, seed: '3' })
    const only = liveAdapter(MODEL, { rank: 2, trainMlp: false, trainUnembed: false })
    await results(trainer, [
      { adapter: all, item: item(datums(40)) },
      { adapter: attention, item: item(datums(17)) },
    ])
    await results(trainer, [{ adapter: only, item: item(datums(17)) }])
    expect(relativeDeviation(gradientOf(attention), gradientOf(only))).toBeLessThan(1e-5)
  })

  it('adds up to the same gradient however the datums are ordered or cut into operations and micro-batches', async () => {
    const data = datums(30, 7, 1, 64, 18, 25)
    const gradients: Float32Array[] = []
    const run = async (on: Trainer, ...operations: TrainingDatum[][]) => {
      const adapter = liveAdapter(MODEL)
      await results(
        on,
        operations.map((d) => ({ adapter, item: item(d) })),
      )
      gradients.push(gradientOf(adapter))
    }
    await run(trainer, data)
    await run(trainer, data.toReversed())
    await run(trainer, data.slice(0, 2), data.slice(2, 3), data.slice(3))
    const narrow = await goldenTrainer(MODEL, { budget: { tokens: 32 } })
    await run(narrow, data)
    await narrow.close()
    for (const gradient of gradients) {
      expect(relativeDeviation(gradient, gradients[0] as Float32Array)).toBeLessThan(1e-5)
    }
  })

  it('doubles the gradient for doubled weights, and again for a second pass', async () => {
    const [once, twice, doubled] = [liveAdapter(MODEL), liveAdapter(MODEL), liveAdapter(MODEL)]
    const data = datums(20, 11)
    const heavy = data.map((d) => ({ ...d, weights: new Float32Array(d.tokens.length).fill(2) }))
    await results(trainer, [{ adapter: once, item: item(data) }])
    for (let i = 0; i < 2; i++) await results(trainer, [{ adapter: twice, item: item(data) }])
    await results(trainer, [{ adapter: doubled, item: item(heavy) }])
    const expected = gradientOf(once).map((g) => 2 * g)
    expect(relativeDeviation(gradientOf(twice), expected)).toBeLessThan(1e-6)
    expect(relativeDeviation(gradientOf(doubled), expected)).toBeLessThan(1e-6)
  })

  it('cannot let a token change what comes before it', async () => {
    const adapter = liveAdapter(MODEL)
    const long = someDatum(3, 40)
    const short = { ...long, tokens: long.tokens.slice(0, 25), targets: long.targets.slice(0, 25) }
    const [result] = await results(trainer, [{ adapter, item: item([long, short], { backward: false }) }])
    expect(absoluteDeviation(result?.logprobs[1] ?? [], result?.logprobs[0]?.slice(0, 25) ?? [])).toBeLessThan(1e-5)
  })

  it('cuts long queues into micro-batches of the token budget, but never a sequence', async () => {
    const narrow = await goldenTrainer(MODEL, { budget: { tokens: 64 } })
    const [first, second] = await results(narrow, [
      { adapter: liveAdapter(MODEL), item: item(datums(30, 30, 30, 90)) },
      { adapter: liveAdapter(MODEL), item: item(datums(20)) },
    ])
    await narrow.close()
    expect(first?.plan.batches).toHaveLength(3)
    expect(second?.plan.batches).toHaveLength(1)
    expect(first?.logprobs.map((p) => p.length)).toEqual([30, 30, 30, 90])
  })

  it('packs many short sequences into more tokens than any of them has positions', async () => {
    const [packed, narrow] = [liveAdapter(MODEL), liveAdapter(MODEL)]
    const data = datums(...Array<number>(15).fill(60))
    const [result] = await results(trainer, [{ adapter: packed, item: item(data) }])
    expect(result?.plan.batches).toHaveLength(1)
    for (const datum of data) await results(trainer, [{ adapter: narrow, item: item([datum]) }])
    expect(relativeDeviation(gradientOf(packed), gradientOf(narrow))).toBeLessThan(1e-5)
  })
})

describe('a fresh adapter', () => {
  it('scores with the bits of the base model', async () => {
    const files = goldenModel(MODEL)
    const executor = new Executor(files.config, inlineWeights(files, 'float32'), { threads: 1, sessions: 2 })
    const adapter = freshAdapter(MODEL, { rank: 8 })
    const work = { datums: datums(33, 20), loss: resolveLoss('cross_entropy'), weights: adapter }
    const batch = packBatch([{ work, first: 0, count: 2 }], false)
    const base = { ...batch, shape: { ...batch.shape, projections: [] } }
    const [adapted, plain] = [await executor.run(batch), await executor.run(base)]
    expect(bits(adapted['scored.logprobs'] as Float32Array)).toBe(bits(plain['scored.logprobs'] as Float32Array))
    await executor.close()
  })

  it('learns a text by heart in a few dozen steps', async () => {
    const adapter = freshAdapter(MODEL, { rank: 8 })
    const data = datums(24)
    const losses: number[] = []
    for (let step = 0; step < 40; step++) {
      const [result] = await results(trainer, [{ adapter, item: item(data) }])
      losses.push((result?.loss ?? Number.NaN) / 24)
      optimizerStep(adapter, { ...ADAM, learningRate: 1e-2 })
    }
    expect(losses[0]).toBeGreaterThan(3)
    expect(losses.at(-1)).toBeLessThan(0.05)
  })
})

describe('an operation', () => {
  it('is a transaction: a bad item fails by itself and leaves no gradient', async () => {
    const [good, bad] = [liveAdapter(MODEL), liveAdapter(MODEL)]
    const outside = { ...someDatum(1, 4), tokens: Int32Array.of(1, 2, 512, 3) }
    const work = [
      { adapter: bad, item: item([someDatum(2, 9), outside]) },
      { adapter: good, item: item(datums(9)) },
    ]
    const [failed, done] = await outcomes(trainer, work)
    expect(failed).toMatchObject({
      operation: work[0]?.item.operation,
      error: { category: 'user', code: 'INVALID_INPUT', message: expect.stringMatching(/datum 1: token 512/) },
    })
    expect(done).toMatchObject({ operation: work[1]?.item.operation, result: { loss: expect.any(Number) } })
    expect(bad.gradient).toBeNull()
    expect(good.gradient).not.toBeNull()
  })

  it('without backward leaves no gradient and gives the same loss', async () => {
    const adapter = liveAdapter(MODEL)
    const [forward] = await results(trainer, [{ adapter, item: item(datums(16), { backward: false }) }])
    expect(adapter.gradient).toBeNull()
    const [backward] = await results(trainer, [{ adapter, item: item(datums(16)) }])
    expect(forward?.loss).toBeCloseTo(backward?.loss ?? Number.NaN, 4)
  })

  it('whose weights are all 0 has a gradient of zeros and log-probabilities as ever', async () => {
    const [idle, busy] = [liveAdapter(MODEL), liveAdapter(MODEL)]
    const [datum] = datums(16) as [TrainingDatum]
    const [none] = await results(trainer, [
      { adapter: idle, item: item([{ ...datum, weights: new Float32Array(16) }]) },
    ])
    const [all] = await results(trainer, [{ adapter: busy, item: item([datum]) }])
    expect(none?.loss).toBe(0)
    expect(gradientOf(idle).every((g) => g === 0)).toBe(true)
    expect(absoluteDeviation(none?.logprobs[0] ?? [], all?.logprobs[0] ?? [])).toBeLessThan(1e-5)
  })

  it('is answered when its last datum is done, before the queue is', async () => {
    const narrow = await goldenTrainer(MODEL, { budget: { tokens: 32 } })
    const small = liveAdapter(MODEL)
    const large = liveAdapter(MODEL)
    const work = [
      { adapter: small, item: item(datums(20)) },
      { adapter: large, item: item(datums(30, 30, 30)) },
    ]
    const stream = narrow.train(work)
    expect((await stream.next()).value?.operation).toBe(work[0]?.item.operation)
    expect([small.gradient === null, large.gradient === null]).toEqual([false, true])
    expect((await stream.next()).value?.operation).toBe(work[1]?.item.operation)
    expect((await stream.next()).done).toBe(true)
    await narrow.close()
  })

  it('ends as cancelled between two micro-batches and leaves nothing behind', async () => {
    const narrow = await goldenTrainer(MODEL, { budget: { tokens: 32 } })
    const abort = new AbortController()
    const [first, second] = [liveAdapter(MODEL), liveAdapter(MODEL)]
    const work = [
      { adapter: first, item: item(datums(20)) },
      { adapter: second, item: item(datums(30, 30, 30)) },
    ]
    const seen = []
    for await (const outcome of narrow.train(work, abort.signal)) {
      seen.push(outcome)
      abort.abort()
    }
    await narrow.close()
    expect(seen).toMatchObject([{ result: {} }, { error: { code: 'CANCELLED', category: 'user' } }])
    expect(first.gradient).not.toBeNull()
    expect(second.gradient).toBeNull()
  })

  it('is refused with the arithmetic when one sequence needs more memory than there is', async () => {
    const poor = await goldenTrainer(MODEL, { budget: { bytes: 2e6 } })
    const [refused, done] = await outcomes(poor, [
      { adapter: liveAdapter(MODEL), item: item(datums(500)) },
      { adapter: liveAdapter(MODEL), item: item(datums(20, 20, 20, 20, 20, 20, 20, 20)) },
    ])
    await poor.close()
    expect(refused).toMatchObject({
      error: {
        code: 'OUT_OF_MEMORY',
        message: expect.stringMatching(/500 tokens .* about \d+ MiB, the engine may use 2 MiB/),
      },
    })
    expect(done && 'result' in done && done.result.plan.batches.length).toBeGreaterThan(1)
  })
})

it('a micro-batch that cannot be computed is tried again in parts: who can be computed alone, is', async () => {
  const poor = await goldenTrainer(MODEL)
  const run = sinon.stub(Executor.prototype, 'run').callThrough()
  run.onFirstCall().rejects(new Error('bad_alloc'))
  run.onThirdCall().rejects(new Error('bad_alloc'))
  const work = [3, 4].map((length) => ({ adapter: liveAdapter(MODEL), item: item(datums(length)) }))
  const [first, second] = await outcomes(poor, work)
  run.restore()
  expect(first).toMatchObject({ operation: work[0]?.item.operation, result: {} })
  expect(second).toMatchObject({ error: { category: 'server', code: 'INTERNAL', message: 'bad_alloc' } })
  expect(work.map(({ adapter }) => adapter.gradient === null)).toEqual([false, true])
  await poor.close()
})

describe('numbers that are not finite', () => {
  /** Finite weights, infinite results: what an absurd learning rate leaves. */
  function absurd(): Adapter {
    const adapter = liveAdapter(MODEL)
    adapter.replace(
      adapter.params.map((p) => p * 1e25),
      null,
    )
    return adapter
  }

  it('stay with the adapter that made them: its neighbours get the bits of being alone', async () => {
    const [victim, bystander, guilty] = [liveAdapter(MODEL, { seed: '8' }), liveAdapter(MODEL, { seed: '9' }), absurd()]
    const work = [
      { adapter: victim, item: item(datums(21)) },
      { adapter: guilty, item: item(datums(13)) },
      { adapter: bystander, item: item(datums(8)) },
    ]
    const [first, second, third] = await outcomes(trainer, work)
    expect(second).toMatchObject({
      operation: work[1]?.item.operation,
      error: {
        category: 'user',
        code: 'NON_FINITE',
        message: expect.stringMatching(/adapter a .*not finite in datum 0/),
      },
    })
    expect(guilty.gradient).toBeNull()
    for (const [outcome, index, adapter] of [
      [first, 0, victim],
      [third, 2, bystander],
    ] as const) {
      const copy = liveAdapter(MODEL)
      copy.replace(adapter.params, null)
      const [wanted] = await results(trainer, [{ adapter: copy, item: (work[index] as TrainingWork).item }])
      expect(outcome).toMatchObject({ result: { loss: wanted?.loss } })
      expect(bits(gradientOf(adapter))).toBe(bits(gradientOf(copy)))
    }
  })

  it('put their adapter into batches of its own until its weights are replaced', async () => {
    const compute = new Compute()
    const runs = sinon.spy(compute, 'run')
    const watched = await goldenTrainer(MODEL, { compute })
    const [guilty, good] = [absurd(), liveAdapter(MODEL)]
    const both = async () => {
      runs.resetHistory()
      const [first, second] = await outcomes(watched, [
        { adapter: guilty, item: item(datums(4)) },
        { adapter: good, item: item(datums(9)) },
      ])
      expect(second).toHaveProperty('result')
      return [first && 'error' in first ? first.error.code : 'done', runs.callCount]
    }
    expect(await both()).toEqual(['NON_FINITE', 3]) // together, then each alone
    expect(await both()).toEqual(['NON_FINITE', 2]) // each alone
    guilty.replace(good.params, null)
    expect(await both()).toEqual(['done', 1]) // together
    await watched.close()
  })

  it('may come from the inputs of a loss: an overflowing ratio with an advantage fails, one without does not', async () => {
    const [d] = datums(6) as [TrainingDatum]
    const policy = (advantage: number) => ({
      ...d,
      logprobs: new Float32Array(6).fill(-1e4),
      advantages: new Float32Array(6).fill(advantage),
    })
    const loss = resolveLoss('importance_sampling')
    const [bad, idle] = await outcomes(trainer, [
      { adapter: liveAdapter(MODEL), item: item([policy(1)], { loss }) },
      { adapter: liveAdapter(MODEL), item: item([policy(0)], { loss }) },
    ])
    expect(bad).toMatchObject({ error: { code: 'NON_FINITE' } })
    expect(idle).toMatchObject({ result: { loss: expect.closeTo(0) } })
  })
})

describe.each([1, 2])('replay by plan with %i threads', (threads) => {
  let engine: Trainer
  beforeAll(async () => {
    engine = await goldenTrainer(MODEL, { threads, budget: { tokens: 400 } })
  })
  afterAll(() => engine.close())

  /** Several tenants, several micro-batches, blocks of queries, a second operation of one adapter. */
  const mixed = () => {
    const soft = someDatum(77, 15)
    const first = liveAdapter(MODEL, { seed: '21', rank: 3 })
    const half = someDatum(5, 150)
    const weights = Float32Array.from({ length: 150 }, (_, i) => (i % 3 === 0 ? 0 : 1))
    const targets = Int32Array.from({ length: 45 }, (_, i) => (i * 37) % 512)
    return [
      { adapter: first, item: item([...datums(120, 100), { ...half, weights }]) },
      {
        adapter: liveAdapter(MODEL, { seed: '22', rank: 16 }),
        item: item([...datums(61), { ...soft, targets, width: 3 }]),
      },
      { adapter: first, item: item(datums(33)) },
      { adapter: liveAdapter(MODEL, { seed: '23', trainMlp: false }), item: item(datums(90, 70, 17)) },
      { adapter: liveAdapter(MODEL, { seed: '24' }), item: item(datums(55), { backward: false }) },
    ]
  }

  it('repeats every operation alone with the same bits of log-probabilities and gradient', async () => {
    const work = mixed()
    const done = await results(engine, work)
    const sums = new Map(work.map(({ adapter }) => [adapter, bits(adapter.gradient)]))
    for (const { adapter } of work) adapter.dropGradient()
    for (const [i, { item: original, adapter }] of work.entries()) {
      const plan = JSON.parse(JSON.stringify(done[i]?.plan))
      const [again] = await results(engine, [{ adapter, item: { ...original, plan } }])
      expect(again?.loss).toBe(done[i]?.loss)
      expect(again?.plan).toEqual(done[i]?.plan)
      expect(again?.logprobs.map(bits)).toEqual(done[i]?.logprobs.map(bits))
    }
    for (const [adapter, sum] of sums) expect(bits(adapter.gradient)).toBe(sum)
  })

  it('needs the plan: packed otherwise, the same datums round otherwise', async () => {
    const work = mixed()
    await results(engine, work)
    const { adapter, item: last } = work[3] as TrainingWork
    const packed = bits(adapter.gradient)
    adapter.dropGradient()
    await results(engine, [{ adapter, item: last }])
    expect(bits(adapter.gradient)).not.toBe(packed)
  })

  it('refuses a plan of another runtime or another operation', async () => {
    const adapter = liveAdapter(MODEL)
    const original = item(datums(12, 8))
    const [{ plan } = { plan: undefined }] = await results(engine, [{ adapter, item: original }])
    if (!plan) throw new Error('no plan')
    const replay = (change: object) => outcomes(engine, [{ adapter, item: { ...original, ...change } }])
    const mismatch = (sentence: RegExp) => [
      { error: { category: 'server', code: 'PLAN_MISMATCH', message: expect.stringMatching(sentence) } },
    ]
    expect(await replay({ plan: { ...plan, runtime: 'other' } })).toMatchObject(
      mismatch(/by "other", this engine is "onnx/),
    )
    expect(await replay({ plan: { ...plan, batches: [[1, 2]] } })).toMatchObject(mismatch(/damaged/))
    expect(await replay({ plan: { ...plan, version: 0 } })).toMatchObject(mismatch(/version 0/))
    expect(await replay({ plan, datums: datums(12, 9) })).toMatchObject(mismatch(/another operation/))
    expect(await replay({ plan, datums: datums(12, 8, 3) })).toMatchObject(mismatch(/covers 2 datums, .* 3/))
  })
})

it('a trainer of a checkpoint without the tensors of its configuration does not open', async () => {
  const files = goldenModel(MODEL)
  const wrong = { ...files.config, hidden: 32 }
  const options = { threads: 1, compute: new Compute() }
  await expect(Trainer.create(wrong, inlineWeights(files, 'float32'), options)).rejects.toThrow(/has shape/)
})
