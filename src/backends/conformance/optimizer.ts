// Checks of optimiser steps, and that one tenant's numbers never reach another's.

import assert from 'node:assert/strict'
import { collect } from './requests.ts'
import {
  allClose,
  type Check,
  close,
  failureOf,
  LONG,
  refused,
  resultOf,
  SHORT,
  sameBits,
  sample,
  Tenant,
} from './tenant.ts'

export const OPTIMIZER_CHECKS: readonly Check[] = [
  {
    name: 'a step without a gradient changes nothing',
    async run({ engine }) {
      const tenant = await Tenant.trained(engine)
      const before = await engine.publish(tenant.id)
      const { applied, gradientNorm, step } = await tenant.optimise({ weightDecay: 0.1 })
      assert.deepEqual({ applied, gradientNorm, step }, { applied: false, gradientNorm: 0, step: 2 })
      assert.equal(await engine.publish(tenant.id), before)
    },
  },
  {
    name: 'a step uses the gradient up, and learns',
    async run({ engine }) {
      const tenant = await Tenant.create(engine)
      const first = await tenant.backward([SHORT])
      const { applied, gradientNorm, step } = await tenant.optimise()
      assert(applied && gradientNorm > 0 && step === 1)
      assert.equal((await tenant.optimise()).applied, false)
      for (let i = 0; i < 3; i++) await tenant.learn([SHORT])
      const { loss } = await tenant.forward([SHORT])
      assert(loss < first.loss, `the loss must fall, ${first.loss} became ${loss}`)
    },
  },
  {
    name: 'discarded gradients are gone',
    async run({ engine }) {
      const tenant = await Tenant.create(engine)
      await tenant.backward([SHORT])
      await engine.discardGradients(tenant.id)
      assert.equal((await tenant.optimise()).applied, false)
    },
  },
  {
    name: 'the gradient norm is that before clipping',
    async run({ engine }) {
      const [free, clipped] = [await Tenant.create(engine), await Tenant.create(engine)]
      for (const tenant of [free, clipped]) await tenant.backward([SHORT])
      const { gradientNorm } = await clipped.optimise({ clipNorm: 1e-3 })
      close(gradientNorm, await free.gradientNorm(), 'gradient norm')
    },
  },
  {
    name: 'a learning rate of 0 moves nothing but the step count',
    async run({ engine }) {
      const tenant = await Tenant.trained(engine)
      const before = await engine.publish(tenant.id)
      await tenant.backward([SHORT])
      const { applied, step } = await tenant.optimise({ learningRate: 0 })
      assert.deepEqual({ applied, step }, { applied: true, step: 3 })
      assert.equal(await engine.publish(tenant.id), before)
    },
  },
  {
    name: 'several adapters step at once, each by its own gradient and settings',
    async run({ engine }) {
      const [a, b, c] = [await Tenant.create(engine), await Tenant.create(engine), await Tenant.create(engine)]
      await collect(engine.train([a.item([SHORT]), b.item([LONG])]))
      const steps = [a.step(), b.step({ learningRate: Number.NaN }), c.step()]
      const outcomes = await engine.optimStep(steps)
      const of = (i: number) => outcomes.find((o) => o.operation === steps[i]!.operation)
      assert.equal(resultOf(of(0)).applied, true)
      assert.equal(failureOf(of(1)).code, 'INVALID_INPUT')
      assert.equal(resultOf(of(2)).applied, false)
    },
  },
  {
    name: 'settings that are no settings are refused by name, and the gradient stays',
    async run({ engine }) {
      const tenant = await Tenant.create(engine)
      await tenant.backward([SHORT])
      const wrong = [{ learningRate: -1 }, { beta1: 1 }, { beta2: -0.1 }, { epsilon: 0 }, { clipNorm: -1 }]
      for (const fields of wrong) {
        const [outcome] = await engine.optimStep([tenant.step(fields)])
        assert.equal(failureOf(outcome).code, 'INVALID_INPUT', JSON.stringify(fields))
      }
      assert.equal((await tenant.optimise()).applied, true)
    },
  },
  {
    name: 'a step out of the range of floats is refused: the weights stay, the gradient is dropped',
    async run({ engine }) {
      const tenant = await Tenant.trained(engine)
      const before = await engine.publish(tenant.id)
      await tenant.backward([SHORT])
      const [outcome] = await engine.optimStep([tenant.step({ learningRate: 1e300 })])
      const { category, code } = failureOf(outcome)
      assert.deepEqual({ category, code }, { category: 'user', code: 'NON_FINITE' })
      assert.equal(await engine.publish(tenant.id), before)
      assert.equal((await tenant.optimise()).applied, false)
      assert.equal((await tenant.learn([SHORT])).applied, true)
    },
  },
  {
    name: 'a tenant whose numbers overflow reaches nobody else',
    async run({ engine }) {
      const [wild, tame, twin] = [
        await Tenant.create(engine),
        await Tenant.trained(engine),
        await Tenant.trained(engine),
      ]
      // Weights of this size are finite, what they compute is not (or is refused at once, which is as good).
      for (const learningRate of [1e25, 1e30]) {
        await collect(engine.train([wild.item([SHORT])]))
        await engine.optimStep([wild.step({ learningRate })])
      }
      const snapshot = await engine.publish(tame.id)
      const [absurd] = await Promise.allSettled([engine.publish(wild.id)])
      const company = absurd.status === 'fulfilled' ? [sample(engine, { snapshot: absurd.value })] : []
      const items = [wild.item([SHORT]), tame.item([LONG]), wild.item([LONG])]
      const [outcomes, drawn] = await Promise.all([
        collect(engine.train(items)),
        sample(engine, { snapshot, maxTokens: 8 }),
        Promise.allSettled(company),
      ])
      const { logprobs, loss } = resultOf(outcomes.find((o) => o.operation === items[1]!.operation))
      for (const outcome of outcomes) {
        if ('error' in outcome) assert.deepEqual([outcome.error.category, outcome.error.code], ['user', 'NON_FINITE'])
        else assert(Number.isFinite(outcome.result.loss), 'an outcome that is not finite is not a result')
      }
      const wanted = await twin.backward([LONG])
      close(loss, wanted.loss, 'loss beside the wild tenant')
      allClose(logprobs[0]!, wanted.logprobs[0]!, 'logprobs beside the wild tenant')
      close(await tame.gradientNorm(), await twin.gradientNorm(), 'gradient norm beside the wild tenant')
      const [alone] = await sample(engine, { snapshot: await engine.publish(tame.id), maxTokens: 8 })
      assert(drawn[0]?.type === 'sample' && alone?.type === 'sample')
      sameBits(drawn[0].logprobs, alone.logprobs, 'sampled logprobs beside the wild tenant')
      await engine.releaseAdapter(wild.id)
      await refused(engine.publish(wild.id), 'ADAPTER_NOT_FOUND')
    },
  },
]
