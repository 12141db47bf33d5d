// Clipping and zero_grad as operations on a run: in order with passes and steps, durable, and repeated when an adapter is
// brought back.

import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type FakeBackend, fakeBackend } from '../../backends/testing/fake-backend.ts'
import { ADAMW, House, pass, savedAs } from './testing/house.ts'

let backend: FakeBackend
let house: House
let run: string

beforeEach(async () => {
  backend = fakeBackend()
  house = await House.open(backend)
  run = await house.newRun()
})
afterEach(() => house.remove())

const training = () => house.services.training
const engine = () => backend.engines.at(-1) as FakeBackend['engines'][number]
const train = (seq: number, of = run) => training().train('anna', pass(of, seq))
const step = (seq: number, of = run) => training().optimStep('anna', of, seq, ADAMW)
const clip = (seq: number, divisor: number, maxNorm: number | null = null, of = run) =>
  training().clipGradients('anna', of, seq, { divisor, maxNorm, normType: 2 })

async function answer(submitted: Promise<{ requestId: string }>) {
  const future = await house.end(submitted)
  if (future.state !== 'done' || future.type !== 'json') return future
  return JSON.parse(new TextDecoder().decode(future.bytes))
}
const gradientNorm = async (submitted: Promise<{ requestId: string }>) => (await answer(submitted)).metrics.grad_norm

describe('clipping', () => {
  it('takes its place between the passes around it, though nobody waits for any of them', async () => {
    const plain = await house.newRun(1)
    const [, , clipped, , stepped] = [train(1), train(2), clip(3, 2), train(4), step(5)]
    const [, , , twin] = [train(1, plain), train(2, plain), train(4, plain), step(5, plain)]
    void training().refuse('anna', plain, 3)
    const { applied, grad_norm: halved } = await answer(clipped)
    expect(applied).toBe(true)
    const [mixed, whole] = [await gradientNorm(stepped), await gradientNorm(twin)]
    expect(mixed).toBeGreaterThan(halved)
    expect(mixed).toBeLessThan(whole)
  })

  it('tells the norm before clipping, and leaves the one that was asked for', async () => {
    await answer(train(1))
    const { grad_norm: before } = await answer(clip(2, 1))
    expect(await answer(clip(3, 4, before / 100))).toEqual({
      applied: true,
      grad_norm: expect.closeTo(before / 4, 5),
      type: 'clip_gradients',
    })
    expect(await gradientNorm(step(4))).toBeCloseTo(before / 100, 5)
  })

  it('without a gradient says so', async () => {
    expect(await answer(clip(1, 3, 1))).toEqual({ applied: false, grad_norm: 0, type: 'clip_gradients' })
  })

  it('that makes no sense is refused before anything is written, and later numbers go on', async () => {
    const wrong = training().clipGradients('anna', run, 1, { divisor: 0, maxNorm: null, normType: 2 })
    await expect(wrong).rejects.toThrow(/divisor must be a finite number above 0, not 0/)
    const other = training().clipGradients('anna', run, 2, { divisor: 1, maxNorm: 1, normType: 3 })
    await expect(other).rejects.toThrow(/norm_type 3 is not supported; use 2/)
    expect(await answer(clip(3, 1))).toMatchObject({ applied: false })
  })

  it('of another tenant’s run is refused', async () => {
    const other = training().clipGradients('bert', run, 1, { divisor: 1, maxNorm: null, normType: 2 })
    await expect(other).rejects.toMatchObject({ status: 404 })
    await expect(training().zeroGrad('bert', run, 1)).rejects.toMatchObject({ status: 404 })
  })
})

describe('zero_grad', () => {
  it('drops what was gathered, and nothing that comes after', async () => {
    const answers = [train(1), training().zeroGrad('anna', run, 2), step(3), train(4), step(5)]
    expect(await answer(answers[1] as (typeof answers)[number])).toEqual({ type: 'zero_grad' })
    expect((await answer(answers[2] as (typeof answers)[number])).metrics).toMatchObject({ applied: 0, grad_norm: 0 })
    expect((await answer(answers[4] as (typeof answers)[number])).metrics).toMatchObject({ applied: 1 })
  })
})

describe('what the journal brings back', () => {
  const saved = async (of: string, seq: number) => {
    expect(await answer(training().saveWeights('anna', of, seq, savedAs('end')))).toHaveProperty('path')
    return engine().publish(of)
  }

  it('has every clipping and zero_grad in its place', async () => {
    const twin = await house.newRun(1)
    for (const of of [run, twin]) {
      for (const submitted of [train(1, of), step(2, of), train(3, of), training().zeroGrad('anna', of, 4)]) {
        await answer(submitted)
      }
      for (const submitted of [train(5, of), clip(6, 3, null, of), train(7, of), clip(8, 2, 0.1, of)]) {
        await answer(submitted)
      }
    }
    const norm = await gradientNorm(step(9, twin))
    const undisturbed = await saved(twin, 10)
    backend = fakeBackend()
    await house.restart(backend, () => {})
    expect(await gradientNorm(step(9))).toBe(norm)
    expect(await saved(run, 10)).toBe(undisturbed)
    expect(engine().calls.filter(({ op }) => op === 'clipGradients')).toHaveLength(2)
  })

  it('does a clipping once that an engine died over', async () => {
    const twin = await house.newRun(1)
    for (const of of [run, twin]) await answer(train(1, of))
    const expected = await answer(clip(2, 5, 1, twin))
    const gate = engine().block('clipGradients')
    const submitted = clip(2, 5, 1)
    await gate.entered
    engine().crash()
    expect(await answer(submitted)).toEqual(expected)
    expect(await gradientNorm(step(3))).toBe(await gradientNorm(step(3, twin)))
  })
})

describe('a step by a rule that the engine does not have', () => {
  it('is refused with those that it has', async () => {
    backend = fakeBackend({ info: { optimizers: ['adamw'] } })
    await house.restart(backend, () => {})
    const wrong = training().optimStep('anna', run, 1, { ...ADAMW, rule: 'adam' })
    await expect(wrong).rejects.toMatchObject({
      code: 'UNSUPPORTED_RULE',
      next: expect.stringMatching(/There is: "adamw"/),
    })
  })
})
