// Losses of two passes in the trainer: what one operation gets is what its sequences' sums say, however it was cut, packed
// or replayed.

import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { LossSpec, TrainingDatum, TrainingItem } from '../backend.ts'
import { resolveLoss } from '../losses.ts'
import type { Adapter } from './adapter.ts'
import { absoluteDeviation, relativeDeviation } from './testing/goldens.ts'
import { bits, goldenTrainer, item, liveAdapter, outcomes, results, someDatum } from './testing/harness.ts'
import type { Trainer } from './trainer.ts'

const MODEL = 'llama-tied'
const GSPO = resolveLoss('gspo')

let trainer: Trainer
beforeAll(async () => {
  trainer = await goldenTrainer(MODEL)
})
afterAll(() => trainer.close())

const gradientOf = ({ gradient }: Adapter) => {
  if (!gradient) throw new Error('the adapter has no gradient')
  return gradient
}
const train = async (on: Trainer, adapter: Adapter, datums: TrainingDatum[], rest: Partial<TrainingItem> = {}) => {
  const [result] = await results(on, [{ adapter, item: item(datums, { loss: GSPO, ...rest }) }])
  if (!result) throw new Error('no result')
  return result
}

/** Datums whose first third is prompt, sampled by a policy that is `off` away, with a mean ratio near 1. */
async function policyData(adapter: Adapter, lengths: readonly number[], off = 0.1): Promise<TrainingDatum[]> {
  const plain = lengths.map((length, i) => someDatum(31 * i + lengths.length, length))
  const { logprobs } = await train(trainer, adapter, plain, { loss: resolveLoss('cross_entropy'), backward: false })
  return plain.map((datum, d) => {
    const isPrompt = (at: number) => at < datum.tokens.length / 3
    const q = logprobs[d]?.map((p, at) => (isPrompt(at) ? 0 : p + off * Math.cos(at) - 0.02)) ?? new Float32Array()
    const advantages = q.map((_, at) => (isPrompt(at) ? 0 : d % 2 ? -0.5 : 1.5))
    return { ...datum, logprobs: q, advantages }
  })
}

describe('gspo', () => {
  it('has the gradient of cross entropy weighted by ratio times advantage, bit for bit', async () => {
    const [joint, plain] = [liveAdapter(MODEL), liveAdapter(MODEL)]
    const [datum] = (await policyData(joint, [30])) as [TrainingDatum]
    const { loss, logprobs } = await train(trainer, joint, [datum])
    const sampled = [...(datum.logprobs?.entries() ?? [])].filter(([, q]) => q !== 0)
    const s = Math.exp(sampled.reduce((sum, [at, q]) => sum + (logprobs[0]?.[at] as number) - q, 0) / sampled.length)
    expect(sampled).toHaveLength(20)
    expect(loss).toBeCloseTo(-20 * s * 1.5, 6)
    const weights = Float32Array.from(datum.advantages ?? [], (a) => s * a)
    const { advantages: _, logprobs: __, ...bare } = datum
    await train(trainer, plain, [{ ...bare, weights }], { loss: resolveLoss('cross_entropy') })
    expect(bits(gradientOf(joint))).toBe(bits(gradientOf(plain)))
  })

  it('comes to the same however the operation is cut into micro-batches', async () => {
    const [whole, cut] = [liveAdapter(MODEL), liveAdapter(MODEL)]
    const data = await policyData(whole, [30, 31, 12, 40])
    const narrow = await goldenTrainer(MODEL, { budget: { tokens: 32 } })
    const [one, parts] = [await train(trainer, whole, data), await train(narrow, cut, data)]
    await narrow.close()
    expect([one.plan.batches.length, parts.plan.batches.length]).toEqual([2, 8])
    expect(parts.loss).toBeCloseTo(one.loss, 4)
    expect(relativeDeviation(gradientOf(cut), gradientOf(whole))).toBeLessThan(1e-5)
  })

  it('scores without a gradient, with the same loss', async () => {
    const adapter = liveAdapter(MODEL)
    const data = await policyData(adapter, [20, 9])
    const scored = await train(trainer, adapter, data, { backward: false })
    expect(adapter.gradient).toBeNull()
    const trained = await train(trainer, adapter, data)
    expect(scored.loss).toBe(trained.loss)
    expect(absoluteDeviation(scored.logprobs[1] ?? [], trained.logprobs[1] ?? [])).toBe(0)
  })

  it('repeats by its plan with the same bits, beside operations of one and of two passes', async () => {
    const narrow = await goldenTrainer(MODEL, { budget: { tokens: 100 } })
    const [first, second] = [liveAdapter(MODEL, { seed: '21' }), liveAdapter(MODEL, { seed: '22', rank: 8 })]
    const entropy = (length: number) => item([someDatum(length, length)])
    const gspo = async (adapter: Adapter, ...lengths: number[]) =>
      item(await policyData(adapter, lengths), { loss: GSPO })
    const work = [
      { adapter: second, item: entropy(20) },
      { adapter: first, item: await gspo(first, 40, 30, 25, 60) },
      { adapter: second, item: await gspo(second, 17, 90) },
      // Done before the two-pass operation that it follows, and added after it.
      { adapter: first, item: entropy(9) },
      { adapter: first, item: entropy(33) },
    ]
    const done = await results(narrow, work)
    const sums = [first, second].map((adapter) => bits(gradientOf(adapter)))
    for (const adapter of [first, second]) adapter.dropGradient()
    for (const [i, { item: original, adapter }] of work.entries()) {
      const plan = JSON.parse(JSON.stringify(done[i]?.plan))
      const [again] = await results(narrow, [{ adapter, item: { ...original, plan } }])
      expect(again).toEqual(done[i])
    }
    expect([first, second].map((adapter) => bits(gradientOf(adapter)))).toEqual(sums)
    const [{ plan } = { plan: undefined }] = done.slice(1)
    const scoring = { ...item([]), ...work[1]?.item, backward: false, ...(plan && { plan }) }
    expect(await outcomes(narrow, [{ adapter: first, item: scoring }])).toMatchObject([
      { error: { code: 'PLAN_MISMATCH', message: expect.stringMatching(/another operation/) } },
    ])
    await narrow.close()
  })

  it('whose slopes are beyond floats fails alone and leaves no gradient', async () => {
    const [guilty, good] = [liveAdapter(MODEL, { seed: '5' }), liveAdapter(MODEL, { seed: '6' })]
    const [datum] = (await policyData(guilty, [12])) as [TrainingDatum]
    const far = { ...datum, logprobs: new Float32Array(12).fill(-3e38), advantages: new Float32Array(12).fill(-1e30) }
    const open: LossSpec = { name: 'gspo', config: { clip_low_threshold: 0, clip_high_threshold: 1 } }
    const [failed, done] = await outcomes(trainer, [
      { adapter: guilty, item: item([far], { loss: open }) },
      { adapter: good, item: item(await policyData(good, [10]), { loss: GSPO }) },
    ])
    expect(failed).toMatchObject({ error: { category: 'user', code: 'NON_FINITE' } })
    expect(done).toMatchObject({ result: { loss: expect.any(Number) } })
    expect(guilty.gradient).toBeNull()
    expect(good.gradient).not.toBeNull()
  })
})
