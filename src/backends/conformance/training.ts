// Checks of forward and forward_backward: sums, transactions, replay, cancellation.

import assert from 'node:assert/strict'
import { DEFAULT_LOSS } from '../../catalogue/losses/catalogue.ts'
import type { LossSpec, Outcome, TrainingDatum, TrainingResult } from '../backend.ts'
import { resolveLoss } from '../losses.ts'
import { collect } from './requests.ts'
import { allClose, type Check, close, failureOf, LONG, resultOf, SHORT, sameBits, sample, Tenant } from './tenant.ts'

/** A token that no vocabulary has, in the second datum: the first has been computed when an engine meets it. */
const BROKEN: readonly TrainingDatum[] = [SHORT, { ...SHORT, tokens: Int32Array.of(5, 2 ** 31 - 1, 7) }]

export const TRAINING_CHECKS: readonly Check[] = [
  {
    name: 'labels that were the likeliest token are counted where a mask says which count',
    async run({ engine }) {
      const tenant = await Tenant.trained(engine)
      const snapshot = await engine.publish(tenant.id)
      const events = await sample(engine, {
        snapshot,
        prompt: LONG.tokens,
        samples: 0,
        maxTokens: 0,
        topkPromptLogprobs: 1,
      })
      const prompt = events.find((event) => event.type === 'prompt')
      assert(prompt?.type === 'prompt' && prompt.topk, 'the prompt must be scored')
      const { ids } = prompt.topk
      // What the model expects, but for every other position, and the last two, which do not count.
      const targets = LONG.targets.map((_, i) => {
        const best = ids[i + 1] ?? 0
        return i % 2 === 0 ? best : (best + 1) % 16
      })
      const mask = new Float32Array(targets.length).fill(1, 0, targets.length - 2)
      const { likeliest } = await tenant.forward([{ ...LONG, targets, mask }], { loss: DEFAULT_LOSS })
      assert.equal(likeliest, Math.ceil((targets.length - 2) / 2))
      assert.equal((await tenant.forward([LONG])).likeliest, undefined, 'without a mask nothing is counted')
    },
  },
  {
    name: 'a forward pass leaves no gradient, and scores as a forward_backward does',
    async run({ engine }) {
      const tenant = await Tenant.trained(engine)
      const scored = await tenant.forward([SHORT, LONG])
      assert.equal((await tenant.optimise()).applied, false)
      const trained = await tenant.backward([SHORT, LONG])
      close(scored.loss, trained.loss, 'loss')
      scored.logprobs.forEach((logprobs, i) => {
        allClose(logprobs, trained.logprobs[i]!, `logprobs of datum ${i}`)
      })
    },
  },
  {
    name: 'the loss is a sum: of minus the logprobs of the targets',
    async run({ engine }) {
      const { logprobs, loss } = await (await Tenant.create(engine)).forward([SHORT, LONG])
      assert.deepEqual(
        logprobs.map((row) => row.length),
        [3, 11],
      )
      close(loss, -logprobs.reduce((sum, row) => sum + row.reduce((a, b) => a + b, 0), 0), 'loss')
    },
  },
  {
    name: 'gradients add up: twice is the same as doubled weights',
    async run({ engine }) {
      const [twice, doubled] = [await Tenant.create(engine), await Tenant.create(engine)]
      for (let i = 0; i < 2; i++) await twice.backward([LONG])
      await doubled.backward([{ ...LONG, weights: new Float32Array(11).fill(2) }])
      close(await twice.gradientNorm(), await doubled.gradientNorm(), 'gradient norm')
    },
  },
  {
    name: 'order and partition of datums change nothing but the order of the answers',
    async run({ engine }) {
      const tenants = [await Tenant.create(engine), await Tenant.create(engine), await Tenant.create(engine)]
      const [one, other, apart] = tenants as [Tenant, Tenant, Tenant]
      const a = await one.backward([SHORT, LONG])
      const b = await other.backward([LONG, SHORT])
      await apart.backward([LONG])
      await apart.backward([SHORT])
      allClose(a.logprobs[0]!, b.logprobs[1]!, 'logprobs of the short datum')
      allClose(a.logprobs[1]!, b.logprobs[0]!, 'logprobs of the long datum')
      const norm = await one.gradientNorm()
      close(await other.gradientNorm(), norm, 'gradient norm in another order')
      close(await apart.gradientNorm(), norm, 'gradient norm in two operations')
    },
  },
  {
    name: 'an operation is a transaction: one with a bad datum adds nothing, its neighbours are done',
    async run({ engine }) {
      const [good, bad, alone] = [await Tenant.create(engine), await Tenant.create(engine), await Tenant.create(engine)]
      const items = [good.item([SHORT]), bad.item(BROKEN), good.item(BROKEN), good.item([LONG])]
      const outcomes = await collect(engine.train(items))
      assert.equal(outcomes.length, 4, 'each operation has one outcome')
      const of = (i: number) => outcomes.find((o) => o.operation === items[i]!.operation)
      for (const i of [1, 2]) assert.equal(failureOf(of(i)).category, 'user')
      for (const i of [0, 3]) resultOf(of(i))
      assert.equal((await bad.optimise()).applied, false)
      await alone.backward([SHORT])
      await alone.backward([LONG])
      close(await good.gradientNorm(), await alone.gradientNorm(), 'gradient norm beside bad operations')
    },
  },
  {
    name: 'numbers that are not finite are refused in the inputs of a loss',
    async run({ engine }) {
      const tenant = await Tenant.create(engine)
      const loss = resolveLoss('importance_sampling')
      const rl = { ...SHORT, logprobs: new Float32Array(3), advantages: Float32Array.of(1, Number.NaN, 1) }
      const [outcome] = await collect(engine.train([tenant.item([rl], { loss })]))
      assert.equal(failureOf(outcome).code, 'INVALID_INPUT')
      assert.equal((await tenant.optimise()).applied, false)
    },
  },
  {
    name: 'where the policy is the one that sampled, all policy losses have the gradient of advantages as weights',
    async run({ engine }) {
      const advantages = Float32Array.of(1, -0.5, 2)
      const plain = await Tenant.create(engine)
      const { logprobs } = await plain.backward([{ ...SHORT, weights: advantages }])
      const wanted = await plain.gradientNorm()
      for (const loss of policyLosses(engine.info.losses)) {
        const tenant = await Tenant.create(engine)
        await tenant.backward([{ ...SHORT, logprobs: logprobs[0]!, advantages }], { loss })
        close(await tenant.gradientNorm(), wanted, `gradient norm of ${loss.name}`)
      }
    },
  },
  {
    name: 'several targets a position: losses and logprobs of each',
    async run({ engine }) {
      const tenant = await Tenant.create(engine)
      const hard = await tenant.forward([SHORT])
      const targets = Int32Array.of(6, 9, 7, 9, 8, 9)
      const weights = Float32Array.of(1, 0, 0.5, 0, 0.25, 0)
      const { logprobs, loss } = await tenant.forward([{ ...SHORT, targets, width: 2, weights }])
      const [row, first] = [logprobs[0]!, hard.logprobs[0]!]
      assert.equal(row.length, 6)
      allClose([row[0]!, row[2]!, row[4]!], first, 'logprobs of the first targets')
      close(loss, -(first[0]! + first[1]! / 2 + first[2]! / 4), 'loss')
    },
  },
  {
    name: 'an operation computed by its plan has the same bits, whoever shared the batch then',
    async run({ engine }) {
      const [tenant, again] = [await Tenant.create(engine), await Tenant.create(engine)]
      const others = [await Tenant.trained(engine), await Tenant.trained(engine, [LONG])] as const
      const item = tenant.item([SHORT, LONG])
      const outcomes = await collect(engine.train([others[0].item([LONG]), item, others[1].item([SHORT])]))
      const mixed = resultOf(outcomes.find((o) => o.operation === item.operation))
      const plan = JSON.parse(JSON.stringify(mixed.plan))
      const replayed = await again.backward([SHORT, LONG], { plan })
      sameResult(replayed, mixed)
      assert.equal(await again.gradientNorm(), await tenant.gradientNorm(), 'gradient norm')
    },
  },
  {
    name: 'a plan of another runtime is refused',
    async run({ engine }) {
      const tenant = await Tenant.create(engine)
      const { plan } = await tenant.forward([SHORT])
      const item = tenant.item([SHORT], { plan: { ...plan, runtime: 'another' }, backward: false })
      const [outcome] = await collect(engine.train([item]))
      assert.equal(failureOf(outcome).code, 'PLAN_MISMATCH')
    },
  },
  {
    name: 'an operation that was aborted before it began leaves nothing',
    async run({ engine }) {
      const tenant = await Tenant.create(engine)
      const items = [tenant.item([SHORT]), tenant.item([LONG])]
      const outcomes = await collect(engine.train(items, AbortSignal.abort()))
      assert.deepEqual(
        outcomes.map((o) => failureOf(o).code),
        ['CANCELLED', 'CANCELLED'],
      )
      assert.equal((await tenant.optimise()).applied, false)
    },
  },
  {
    name: 'what an abort finds done is done, the rest is cancelled, and the gradient is that of what was done',
    async run({ engine }) {
      const [tenant, alone] = [await Tenant.create(engine), await Tenant.create(engine)]
      const abort = new AbortController()
      const items = Array.from({ length: 12 }, () => tenant.item([LONG]))
      const outcomes: Outcome<TrainingResult>[] = []
      for await (const outcome of engine.train(items, abort.signal)) {
        outcomes.push(outcome)
        abort.abort()
      }
      assert.equal(outcomes.length, items.length, 'each operation has one outcome')
      for (const outcome of outcomes) {
        if ('error' in outcome) assert.equal(outcome.error.code, 'CANCELLED')
        else await alone.backward([LONG])
      }
      close(await tenant.gradientNorm(), await alone.gradientNorm(), 'gradient norm')
    },
  },
  {
    name: 'operations on one adapter take effect in the order of the calls, though nobody waits in between',
    async run({ engine }) {
      const [eager, patient] = [await Tenant.create(engine), await Tenant.create(engine)]
      // More tokens than an engine computes at once: the next operation must not get in between.
      const many = Array.from({ length: 100 }, () => LONG)
      const calls = [
        collect(engine.train([eager.item(many)])),
        engine.optimStep([eager.step()]),
        collect(engine.train([eager.item([SHORT])])),
        engine.optimStep([eager.step()]),
      ]
      const published = engine.publish(eager.id)
      await Promise.all(calls)
      await patient.learn(many)
      await patient.learn([SHORT])
      assert.equal(await published, await engine.publish(patient.id), 'equal weights share one snapshot')
    },
  },
]

function policyLosses(names: readonly string[]): LossSpec[] {
  const policy = names.filter((name) => name !== 'cross_entropy')
  return policy.map((name) => resolveLoss(name, name === 'dro' ? { beta: 0.1 } : {}))
}

function sameResult(found: TrainingResult, wanted: TrainingResult): void {
  assert.equal(found.loss, wanted.loss, 'loss')
  found.logprobs.forEach((row, i) => {
    sameBits(row, wanted.logprobs[i]!, `logprobs of datum ${i}`)
  })
}
