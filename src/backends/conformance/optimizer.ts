// Checks of optimiser steps, and that one tenant's numbers never reach another's.

import assert from 'node:assert/strict'
import type { Engine, OptimizerRule, OptimStep } from '../backend.ts'
import { collect, gradientClip, optimStep, sgdStep } from './requests.ts'
import {
  allClose,
  type Check,
  close,
  failureOf,
  LONG,
  newId,
  newPath,
  refused,
  resultOf,
  SHORT,
  sameBits,
  sample,
  Tenant,
} from './tenant.ts'

/** A step by each rule, with the state that it can have. */
const STEPS: Readonly<Record<OptimizerRule, (adapter: string) => OptimStep>> = {
  adamw: (adapter) => optimStep(newId(), adapter, { weightDecay: 0.1 }),
  adam: (adapter) => optimStep(newId(), adapter, { rule: 'adam', weightDecay: 0.1 }),
  sgd: (adapter) => sgdStep(newId(), adapter, { learningRate: 0.003, momentum: 0.9, weightDecay: 0.1 }),
}

/** One after the other: each rule that the engine has, and another one of them. */
const pairsOfRules = ({ info }: Engine) =>
  info.optimizers.map((rule, i, all) => [rule, all[(i + 1) % all.length] as OptimizerRule] as const)

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
    name: 'every rule that the engine names learns, and its saved state goes on as if nothing had happened',
    async run(bench) {
      const { engine } = bench
      for (const rule of engine.info.optimizers) {
        const [whole, resumed] = [await Tenant.create(engine), await Tenant.create(engine, { seed: '2' })]
        const step = async (tenant: Tenant) => {
          await tenant.backward([SHORT])
          return tenant.stepBy(STEPS[rule](tenant.id))
        }
        const { loss } = await whole.forward([SHORT])
        for (let i = 0; i < 2; i++) await step(whole)
        const folder = newPath(bench)
        await engine.saveAdapter(whole.id, folder, 'weights+optimizer')
        await engine.loadAdapter(resumed.id, folder, 'weights+optimizer')
        assert.deepEqual(await step(resumed), await step(whole), rule)
        assert.equal(await engine.publish(resumed.id), await engine.publish(whole.id), rule)
        const after = (await whole.forward([SHORT])).loss
        assert(after < loss, `${rule}: the loss must fall, ${loss} became ${after}`)
      }
    },
  },
  {
    name: 'no rule goes on with the state of another, saved or not, unless it is told to begin anew',
    async run(bench) {
      const { engine } = bench
      for (const [rule, other] of pairsOfRules(engine)) {
        if (rule === other) continue
        const [tenant, loaded] = [await Tenant.create(engine), await Tenant.create(engine)]
        await tenant.backward([SHORT])
        await tenant.stepBy(STEPS[rule](tenant.id))
        const folder = newPath(bench)
        await engine.saveAdapter(tenant.id, folder, 'weights+optimizer')
        await engine.loadAdapter(loaded.id, folder, 'weights+optimizer')
        for (const { id } of [tenant, loaded]) {
          await collect(engine.train([tenant.item([SHORT], { adapter: id })]))
          const [outcome] = await engine.optimStep([STEPS[other](id)])
          const { code, message } = failureOf(outcome)
          assert.equal(code, 'OPTIMIZER_MISMATCH')
          assert(message.includes(rule) && message.includes(other), `it must name both rules: ${message}`)
        }
        const { applied, step } = await tenant.stepBy({ ...STEPS[other](tenant.id), fresh: true })
        assert.deepEqual(
          { applied, step },
          { applied: true, step: 1 },
          'the gradient of the refused step is still there',
        )
      }
    },
  },
  {
    name: 'a gradient is divided, then clipped; the norm told is the one between',
    async run({ engine }) {
      const [tenant, twin] = [await Tenant.create(engine), await Tenant.create(engine)]
      for (const each of [tenant, twin]) await each.backward([SHORT])
      const norm = (await twin.optimise({ learningRate: 0 })).gradientNorm
      const first = await tenant.clip({ divisor: 4 })
      assert.equal(first.applied, true)
      close(first.gradientNorm, norm / 4, 'the norm of a divided gradient')
      const second = await tenant.clip({ maxNorm: norm / 8 })
      close(second.gradientNorm, norm / 4, 'the norm before clipping')
      close(await tenant.gradientNorm(), norm / 8, 'the norm after clipping')
    },
  },
  {
    name: 'what comes after a clipping adds to what it left',
    async run({ engine }) {
      const [tenant, twin] = [await Tenant.create(engine), await Tenant.create(engine)]
      for (const each of [tenant, twin]) await each.backward([SHORT])
      await tenant.clip({ divisor: 2 })
      await tenant.backward([SHORT])
      close(await tenant.gradientNorm(), 1.5 * (await twin.gradientNorm()), 'half the gradient and a whole one')
    },
  },
  {
    name: 'without a gradient, clipping does nothing',
    async run({ engine }) {
      const tenant = await Tenant.trained(engine)
      assert.deepEqual(await tenant.clip({ divisor: 2, maxNorm: 1 }), { applied: false, gradientNorm: 0 })
      assert.equal((await tenant.optimise()).applied, false)
    },
  },
  {
    name: 'clippings that are none are refused by name, those of other adapters go on, and the gradient stays',
    async run({ engine }) {
      const [tenant, other] = [await Tenant.create(engine), await Tenant.create(engine)]
      const [{ gradientNorm: norm }] = [await tenant.learn([SHORT], { learningRate: 0 })]
      for (const each of [tenant, other]) await each.backward([SHORT])
      const wrong = [{ divisor: 0 }, { divisor: Number.NaN }, { maxNorm: -1 }, { normType: 1 }, { normType: Infinity }]
      const clips = wrong.map((fields) => gradientClip(newId(), tenant.id, fields))
      const good = gradientClip(newId(), other.id, { divisor: 2 })
      const outcomes = await engine.clipGradients([...clips, good, gradientClip('lost', newId())])
      const of = (id: string) => outcomes.find(({ operation }) => operation === id)
      for (const { operation } of clips) assert.equal(failureOf(of(operation)).code, 'INVALID_INPUT')
      assert.equal(failureOf(of('lost')).code, 'ADAPTER_NOT_FOUND')
      assert.equal(resultOf(of(good.operation)).applied, true)
      close(await tenant.gradientNorm(), norm, 'the gradient after refused clippings')
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
