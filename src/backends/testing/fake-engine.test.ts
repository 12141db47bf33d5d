import { describe, expect, it } from 'vitest'
import type { Outcome } from '../backend.ts'
import { collect, generation, LORA, optimStep, trainingItem } from '../conformance/requests.ts'
import { engineError } from '../engine-errors.ts'
import { resolveLoss } from '../losses.ts'
import { FakeEngine } from './fake-engine.ts'
import { scoreDatum, type Table } from './fake-model.ts'

const request = generation('g', { prompt: Int32Array.of(5) })
const failureOf = (outcome: Outcome<unknown> | undefined) => (outcome && 'error' in outcome ? outcome.error.code : null)

describe('the fake model', () => {
  const losses = [
    resolveLoss('cross_entropy'),
    resolveLoss('importance_sampling'),
    resolveLoss('ppo'),
    resolveLoss('dro', { beta: 0.1 }),
  ]
  const scored = {
    ...trainingItem('', '').datums[0]!,
    weights: Float32Array.of(1, 0.3, -0.5),
    logprobs: Float32Array.of(-4, -4, -4),
    advantages: Float32Array.of(1, -1, 0.5),
  }
  it.each(losses)('has the gradient of its $name loss', (loss) => {
    const gradient: Table = new Map()
    scoreDatum(64, new Map(), loss, scored, gradient)
    const nudge = (by: number) =>
      scoreDatum(64, new Map([[6, new Float32Array(64).fill(by, 7, 8)]]), loss, scored, null).loss
    const slope = (nudge(0.001) - nudge(-0.001)) / 0.002
    expect(Math.abs(gradient.get(6)![7]! / slope - 1)).toBeLessThan(1e-3)
  })
})

describe('FakeEngine', () => {
  it('learns: the loss falls, the published snapshot follows and an older one stays as it was', async () => {
    const engine = new FakeEngine()
    await engine.createAdapter('a', LORA)
    const before = await engine.publish('a')
    const losses: number[] = []
    for (let i = 0; i < 8; i++) {
      const [outcome] = await collect(engine.train([trainingItem(`t${i}`, 'a')]))
      if (outcome && 'result' in outcome) losses.push(outcome.result.loss)
      await engine.optimStep([optimStep(`o${i}`, 'a', { learningRate: 0.1 })])
    }
    expect(losses.at(-1)).toBeLessThan(losses[0]! / 10)
    const greedy = { ...request, temperature: 0, maxTokens: 3 }
    const [trained] = await collect(engine.generate({ ...greedy, snapshot: await engine.publish('a') }))
    expect(trained).toMatchObject({ tokens: Int32Array.of(6, 7, 8) })
    const frozen = await collect(engine.generate({ ...greedy, snapshot: before }))
    expect(frozen).toEqual(await collect(engine.generate(greedy)))
  })

  it('holds a call at a gate until the test opens it', async () => {
    const engine = new FakeEngine()
    const gate = engine.block('createAdapter')
    const created = engine.createAdapter('a', LORA)
    await gate.entered
    expect(gate.waiting).toBe(1)
    gate.open()
    await expect(created).resolves.toEqual({ parameters: 4096 })
    await engine.createAdapter('b', LORA)
    expect(engine.calls).toEqual([
      { op: 'createAdapter', arg: 'a' },
      { op: 'createAdapter', arg: 'b' },
    ])
  })

  it('ends a held operation as cancelled when its signal aborts, and leaves no gradient', async () => {
    const engine = new FakeEngine()
    await engine.createAdapter('a', LORA)
    const gate = engine.block('train')
    const abort = new AbortController()
    const outcomes = collect(engine.train([trainingItem('t', 'a')], abort.signal))
    await gate.entered
    abort.abort()
    expect(failureOf((await outcomes)[0])).toBe('CANCELLED')
    gate.open()
    const [step] = await engine.optimStep([optimStep('o', 'a')])
    expect(step).toMatchObject({ result: { applied: false } })
  })

  it('fails the next call as ordered, once', async () => {
    const engine = new FakeEngine()
    engine.failNext('publish', engineError('STORAGE', 'disk full'))
    await engine.createAdapter('a', LORA)
    await expect(engine.publish('a')).rejects.toMatchObject({ code: 'STORAGE' })
    await expect(engine.publish('a')).resolves.toBeTypeOf('string')
  })

  it('crashes: waiting and later calls are lost, and closed says why', async () => {
    const engine = new FakeEngine()
    const gate = engine.block('generate')
    const sampled = collect(engine.generate(request))
    await gate.entered
    engine.crash('out of memory')
    await expect(sampled).rejects.toMatchObject({ code: 'ENGINE_LOST', message: 'out of memory' })
    await expect(engine.status()).rejects.toMatchObject({ code: 'ENGINE_LOST' })
    await expect(engine.closed).resolves.toMatchObject({ code: 'ENGINE_LOST' })
  })

  it('stops at a stop string that ends across tokens', async () => {
    const engine = new FakeEngine({ decode: (tokens) => tokens.map((t) => `<${t}>`).join('') })
    const [free] = await collect(engine.generate(request))
    const tokens = (free as { tokens: Int32Array }).tokens
    const [stopped] = await collect(engine.generate({ ...request, stopStrings: [`${tokens[0]}><${tokens[1]}>`] }))
    expect(stopped).toMatchObject({ tokens: tokens.slice(0, 2), stopReason: 'stop' })
  })
})
