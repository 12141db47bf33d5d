// Checks of snapshots and of drawing from them.

import assert from 'node:assert/strict'
import type { Engine, GenerationEvent, GenerationRequest } from '../backend.ts'
import { generation } from './requests.ts'
import {
  allClose,
  type Check,
  close,
  LONG,
  newId,
  newPath,
  refused,
  SHORT,
  sameBits,
  sample,
  Tenant,
} from './tenant.ts'

type Sample = Extract<GenerationEvent, { type: 'sample' }>
type PromptScore = Extract<GenerationEvent, { type: 'prompt' }>

export const SAMPLING_CHECKS: readonly Check[] = [
  {
    name: 'a fresh adapter samples as the base model does, bit for bit',
    async run({ engine }) {
      const tenant = await Tenant.create(engine)
      const snapshot = await engine.publish(tenant.id)
      sameSamples(await samples(engine, { snapshot, maxTokens: 8 }), await samples(engine, { maxTokens: 8 }))
    },
  },
  {
    name: 'a snapshot is frozen, whatever becomes of its adapter',
    async run({ engine }) {
      const tenant = await Tenant.trained(engine)
      const snapshot = await engine.publish(tenant.id)
      const before = await samples(engine, { snapshot })
      for (let i = 0; i < 3; i++) await tenant.learn([LONG], { learningRate: 0.1 })
      sameSamples(await samples(engine, { snapshot }), before)
      await engine.releaseAdapter(tenant.id)
      sameSamples(await samples(engine, { snapshot }), before)
    },
  },
  {
    name: 'equal weights are one snapshot, which lives until the last release',
    async run({ engine }) {
      const tenant = await Tenant.create(engine)
      await tenant.learn([LONG], { learningRate: 0.0123 }) // weights that no other check publishes
      const [a, b] = [await engine.publish(tenant.id), await engine.publish(tenant.id)]
      assert.equal(a, b)
      await engine.releaseSnapshot(a)
      await samples(engine, { snapshot: b })
      await engine.releaseSnapshot(b)
      await refused(sample(engine, { snapshot: b }), 'SNAPSHOT_NOT_FOUND')
      await refused(engine.releaseSnapshot(b), 'SNAPSHOT_NOT_FOUND')
    },
  },
  {
    name: 'a saved adapter samples as it did when it was saved',
    async run(bench) {
      const { engine } = bench
      const tenant = await Tenant.trained(engine)
      const folder = newPath(bench)
      await engine.saveAdapter(tenant.id, folder, 'weights')
      const before = await samples(engine, { snapshot: await engine.publish(tenant.id), maxTokens: 8 })
      sameSamples(await samples(engine, { snapshot: await engine.loadSnapshot(folder), maxTokens: 8 }), before)
    },
  },
  {
    name: 'what is trained is what is sampled: the greedy continuation becomes the target',
    async run({ engine }) {
      const tenant = await Tenant.create(engine)
      for (let i = 0; i < 60; i++) await tenant.learn([SHORT], { learningRate: 0.01 * (1 - i / 60) })
      const greedy = { temperature: 0, prompt: Int32Array.of(5), maxTokens: 3 }
      const [drawn] = await samples(engine, { ...greedy, snapshot: await engine.publish(tenant.id) })
      assert.deepEqual([...drawn!.tokens], [6, 7, 8])
    },
  },
  {
    name: 'a seed decides the tokens, whoever else is served',
    async run({ engine }) {
      const snapshot = await engine.publish((await Tenant.trained(engine)).id)
      const other = await engine.publish((await Tenant.trained(engine, [LONG])).id)
      const request = { snapshot, maxTokens: 12, seed: '18446744073709551615' }
      const alone = await samples(engine, request)
      const company = [null, other, snapshot, null, other].map((s, i) =>
        samples(engine, { snapshot: s, seed: String(i), maxTokens: 5 * i + 1, prompt: LONG.tokens.subarray(0, i + 1) }),
      )
      sameSamples(await samples(engine, request), alone)
      await Promise.all(company)
      const [another] = await samples(engine, { ...request, seed: '1' })
      assert.notDeepEqual(another!.tokens, alone[0]!.tokens, 'another seed, other tokens')
    },
  },
  {
    name: 'each sequence of a request has a stream of its own, however many there are',
    async run({ engine }) {
      const [two, five] = [await samples(engine, { samples: 2 }), await samples(engine, { samples: 5 })]
      assert.deepEqual(five.map((s) => s.index).sort(), [0, 1, 2, 3, 4])
      for (const one of two) sameSamples([five.find((s) => s.index === one.index)!], [one])
      assert.notDeepEqual(five[0]!.tokens, five[1]!.tokens)
    },
  },
  {
    name: 'temperature 0 takes the best token and reports logprobs of temperature 1',
    async run({ engine }) {
      const [drawn] = await samples(engine, { temperature: 0, topkSampleLogprobs: 2, maxTokens: 6 })
      const { tokens, logprobs, topk } = drawn!
      assert(topk && topk.ids.length === 12, 'two best tokens for each position')
      assert.deepEqual(
        [...tokens],
        [...topk.ids].filter((_, i) => i % 2 === 0),
      )
      allClose(
        logprobs,
        [...topk.logprobs].filter((_, i) => i % 2 === 0),
        'logprobs',
      )
    },
  },
  {
    name: 'logprobs of a prompt, of training and of sampling are the same numbers',
    async run({ engine }) {
      const tenant = await Tenant.trained(engine, [LONG])
      const snapshot = await engine.publish(tenant.id)
      const [drawn] = await samples(engine, { snapshot, prompt: LONG.tokens, maxTokens: 6 })
      const text = Int32Array.of(...LONG.tokens, ...drawn!.tokens)
      const score = await scorePrompt(engine, { snapshot, prompt: text })
      const datum = { tokens: text.subarray(0, -1), targets: text.subarray(1), width: 1 }
      const { logprobs } = await tenant.forward([datum])
      assert(score.logprobs && Number.isNaN(score.logprobs[0]), 'nothing comes before the first token')
      allClose(score.logprobs.subarray(1), logprobs[0]!, 'prompt logprobs and training logprobs')
      allClose(drawn!.logprobs, score.logprobs.subarray(LONG.tokens.length), 'sampled logprobs and prompt logprobs')
    },
  },
  {
    name: 'the best tokens of a prompt: best first, and the token itself among all',
    async run({ engine }) {
      const score = await scorePrompt(engine, { prompt: SHORT.tokens, topkPromptLogprobs: 3 })
      const { ids, logprobs, k } = score.topk!
      assert.deepEqual([k, ids.length, logprobs.length], [3, 9, 9])
      assert.deepEqual([...ids.subarray(0, 3)], [0, 0, 0])
      assert(logprobs.subarray(0, 3).every(Number.isNaN))
      for (const row of [3, 6]) assert(logprobs[row]! >= logprobs[row + 1]! && logprobs[row + 1]! >= logprobs[row + 2]!)
      const [greedy] = await samples(engine, { prompt: SHORT.tokens.subarray(0, 2), temperature: 0, maxTokens: 1 })
      assert.equal(ids[6], greedy!.tokens[0])
    },
  },
  {
    name: 'the end of a prompt alone is scored where only that is asked',
    async run({ engine }) {
      const whole = await scorePrompt(engine, { prompt: LONG.tokens, topkPromptLogprobs: 2 })
      const end = await scorePrompt(engine, { prompt: LONG.tokens, topkPromptLogprobs: 2, scorePromptFrom: 9 })
      assert(end.logprobs!.subarray(0, 9).every(Number.isNaN) && end.topk!.logprobs.subarray(0, 18).every(Number.isNaN))
      sameBits(end.logprobs!.subarray(9), whole.logprobs!.subarray(9), 'logprobs')
      sameBits(end.topk!.logprobs.subarray(18), whole.topk!.logprobs.subarray(18), 'best logprobs')
    },
  },
  {
    name: 'other tokens are scored in the prompt’s places, as the prompt’s own are',
    async run({ engine }) {
      const { tokens } = SHORT
      const prompt = tokens.subarray(0, 3)
      // Nothing at position 1; at position 2 its own token, another, and its own again.
      const promptTargets = { starts: Int32Array.of(0, 0, 3), ids: Int32Array.of(prompt[2]!, 9, prompt[2]!) }
      const { logprobs, targets } = await scorePrompt(engine, { prompt, promptTargets })
      const other = await scorePrompt(engine, { prompt: Int32Array.of(prompt[0]!, prompt[1]!, 9) })
      sameBits(targets!, Float32Array.of(logprobs![2]!, other.logprobs![2]!, logprobs![2]!), 'logprobs of targets')
      const alone = await scorePrompt(engine, { prompt, promptTargets, promptLogprobs: false })
      assert.equal(alone.logprobs, undefined)
      sameBits(alone.targets!, targets!, 'logprobs of targets, nothing else asked')
    },
  },
  {
    name: 'draws for each place of a prompt: of its distribution, repeatable, scored by the model',
    async run({ engine }) {
      const prompt = SHORT.tokens.subarray(0, 3)
      const asked = { prompt, promptDraws: 3, temperature: 1.5, seed: '11', promptLogprobs: false }
      const { draws } = await scorePrompt(engine, asked)
      assert.deepEqual([draws!.ids.length, draws!.logprobs.length], [6, 6])
      assert.deepEqual(await scorePrompt(engine, asked), { type: 'prompt', draws })
      const promptTargets = { starts: Int32Array.of(0, 3, 6), ids: draws!.ids }
      allClose((await scorePrompt(engine, { prompt, promptTargets })).targets!, draws!.logprobs, 'logprobs of draws')
      const other = await scorePrompt(engine, { ...asked, promptDraws: 32, seed: '12' })
      assert(new Set(other.draws!.ids.subarray(0, 32)).size > 1, 'draws differ')
      const greedy = await scorePrompt(engine, { ...asked, temperature: 0, topkPromptLogprobs: 1 })
      assert.deepEqual(
        [...greedy.draws!.ids].filter((_, i) => i % 3 === 0),
        [...greedy.topk!.ids.subarray(1)],
      )
    },
  },
  {
    name: 'a stop token ends a sequence and is part of it',
    async run({ engine }) {
      const [free] = await samples(engine, { maxTokens: 8 })
      const stop = free!.tokens[3]!
      const [stopped] = await samples(engine, { maxTokens: 8, stopTokens: [stop] })
      const length = free!.tokens.indexOf(stop) + 1
      assert.deepEqual([...stopped!.tokens], [...free!.tokens.subarray(0, length)])
      assert.deepEqual([free!.stopReason, stopped!.stopReason], ['length', 'stop'])
    },
  },
  {
    name: 'temperature changes the reported logprobs, top_k and top_p do not',
    async run({ engine }) {
      const one = { samples: 1, maxTokens: 1 } as const
      const [plain] = await samples(engine, one)
      const [narrow] = await samples(engine, { ...one, topK: 1 })
      const [greedy] = await samples(engine, { ...one, temperature: 0 })
      assert.deepEqual(narrow!.tokens, greedy!.tokens, 'top_k 1 is greedy')
      close(narrow!.logprobs[0]!, greedy!.logprobs[0]!, 'the logprob before top_k')
      const [nucleus] = await samples(engine, { ...one, topP: 1e-6 })
      assert.deepEqual(nucleus!.tokens, greedy!.tokens, 'a tiny top_p keeps the best token')
      const [hot] = await samples(engine, { ...one, topK: 1, temperature: 2 })
      assert(hot!.logprobs[0]! < greedy!.logprobs[0]!, 'a higher temperature flattens the distribution')
      assert(plain!.logprobs[0]! <= greedy!.logprobs[0]! + 1e-6)
    },
  },
  {
    name: 'an abort ends a generation as cancelled and frees its place',
    async run({ engine }) {
      const room = engine.info.maxContext - 2
      await refused(sample(engine, {}, AbortSignal.abort()), 'CANCELLED')
      const abort = new AbortController()
      const running = sample(engine, { samples: 8, maxTokens: room }, abort.signal)
      abort.abort()
      await refused(running, 'CANCELLED')
      for await (const event of engine.generate(generation(newId(), { samples: 4 }))) if (event) break
      assert.equal((await engine.status()).sampling, 0)
    },
  },
  {
    name: 'a request that cannot be done is refused, and the next is served',
    async run({ engine }) {
      const { vocabulary, maxContext, maxTopK } = engine.info
      const wrong: Partial<GenerationRequest>[] = [
        { prompt: new Int32Array(0) },
        { prompt: Int32Array.of(vocabulary) },
        { prompt: Int32Array.of(-1) },
        { prompt: new Int32Array(maxContext + 1).fill(5) },
        { maxTokens: maxContext },
        { temperature: -1 },
        { temperature: Number.NaN },
        { topP: 0 },
        { seed: 'x' },
        { topkPromptLogprobs: maxTopK + 1 },
        { promptDraws: 129 },
        { promptTargets: { starts: Int32Array.of(0, 1), ids: Int32Array.of(vocabulary) } },
        { promptTargets: { starts: Int32Array.of(0, 2), ids: Int32Array.of(1) } },
      ]
      for (const fields of wrong) await refused(sample(engine, fields), 'INVALID_INPUT')
      await refused(sample(engine, { snapshot: newId() }), 'SNAPSHOT_NOT_FOUND')
      assert.equal((await samples(engine, {})).length, 1)
    },
  },
]

async function samples(engine: Engine, fields: Partial<GenerationRequest>): Promise<Sample[]> {
  const events = await sample(engine, fields)
  return events.filter((event) => event.type === 'sample').sort((a, b) => a.index - b.index)
}

async function scorePrompt(engine: Engine, fields: Partial<GenerationRequest>): Promise<PromptScore> {
  const events = await sample(engine, { samples: 0, promptLogprobs: true, ...fields })
  assert.equal(events.length, 1, 'a request without samples is answered by the scores of its prompt')
  assert(events[0]?.type === 'prompt')
  return events[0]
}

function sameSamples(found: readonly Sample[], wanted: readonly Sample[]): void {
  assert.equal(found.length, wanted.length)
  found.forEach((one, i) => {
    assert.deepEqual([...one.tokens], [...wanted[i]!.tokens], 'tokens')
    sameBits(one.logprobs, wanted[i]!.logprobs, 'logprobs')
    assert.equal(one.stopReason, wanted[i]!.stopReason)
  })
}
