// Checks of an engine as a whole: what it says of itself, and its end.

import assert from 'node:assert/strict'
import { collect } from './requests.ts'
import { type Check, LONG, refused, SHORT, sample, Tenant } from './tenant.ts'

export const LIFECYCLE_CHECKS: readonly Check[] = [
  {
    name: 'it says what it is',
    async run({ engine }) {
      const { info } = engine
      assert(info.backend && info.model && info.architecture && info.runtime)
      assert(info.vocabulary >= 16 && info.maxContext >= 64 && info.maxRank >= 1 && info.maxTopK >= 1)
      assert(info.losses.includes('cross_entropy') && info.optimizers.includes('adamw'))
      assert(info.endTokens.every((token) => token >= 0 && token < info.vocabulary))
    },
  },
  {
    name: 'it counts what it holds and what it did',
    async run({ engine }) {
      const before = await engine.status()
      const tenant = await Tenant.create(engine)
      await tenant.backward([SHORT])
      await engine.publish(tenant.id)
      await sample(engine, { maxTokens: 3 })
      const after = await engine.status()
      assert(after.rssBytes > 0)
      assert.equal(after.adapters, before.adapters + 1)
      assert(after.trainedTokens - before.trainedTokens >= SHORT.tokens.length)
      assert(after.sampledTokens - before.sampledTokens >= 3)
      await engine.releaseAdapter(tenant.id)
      assert.equal((await engine.status()).adapters, before.adapters)
    },
  },
  {
    name: 'training and sampling take turns: neither waits for the other to end',
    async run({ engine }) {
      const tenant = await Tenant.create(engine)
      const ended: string[] = []
      const many = Array.from({ length: 100 }, () => LONG)
      const training = collect(engine.train(Array.from({ length: 8 }, () => tenant.item(many))))
      const sampling = sample(engine, { maxTokens: 4 })
      await Promise.all([training.then(() => ended.push('training')), sampling.then(() => ended.push('sampling'))])
      assert.deepEqual(ended, ['sampling', 'training'], 'four tokens are drawn before 8 operations of 1100 tokens end')
    },
  },
  {
    name: 'after close every call fails at once, and closed says that nothing was wrong',
    async run(bench) {
      const engine = await bench.open()
      const tenant = await Tenant.create(engine)
      await engine.close()
      assert.equal(await engine.closed, null)
      await refused(engine.status(), 'ENGINE_CLOSED')
      await refused(engine.publish(tenant.id), 'ENGINE_CLOSED')
      await refused(tenant.backward([SHORT]), 'ENGINE_CLOSED')
      await refused(sample(engine), 'ENGINE_CLOSED')
      await engine.close()
    },
  },
  {
    name: 'a close ends what is under way',
    async run(bench) {
      const engine = await bench.open()
      const tenant = await Tenant.create(engine)
      const calls = [
        sample(engine, { samples: 8, maxTokens: engine.info.maxContext - 2 }),
        tenant.backward(Array.from({ length: 300 }, () => LONG)),
        engine.publish(tenant.id),
      ]
      const ended = calls.map((call) => refused(call, 'ENGINE_CLOSED'))
      await engine.close()
      await Promise.all(ended)
    },
  },
]
