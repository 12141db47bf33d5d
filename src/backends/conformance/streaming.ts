// Checks of what a request hears of its tokens while they are drawn.

import assert from 'node:assert/strict'
import type { GenerationEvent, GenerationRequest } from '../backend.ts'
import { generation } from './requests.ts'
import { type Check, LONG, newId, refused, SHORT, sameBits, sample } from './tenant.ts'

type Sample = Extract<GenerationEvent, { type: 'sample' }>
type Tokens = Extract<GenerationEvent, { type: 'tokens' }>

const ASKED: Partial<GenerationRequest> = { samples: 3, maxTokens: 6, topkSampleLogprobs: 2, prompt: LONG.tokens }

export const STREAMING_CHECKS: readonly Check[] = [
  {
    name: 'streamed tokens are those of the samples, in order and in the same bits, and come before them',
    async run({ engine }) {
      const whole = (await sample(engine, ASKED)) as Sample[]
      const events = await sample(engine, { ...ASKED, stream: true })
      assert.deepEqual(
        ofType(events, 'sample').sort(byIndex),
        whole.sort(byIndex),
        'samples with and without streaming',
      )
      for (const one of whole) {
        const told = ofType(events, 'tokens').filter(({ index }) => index === one.index)
        assert(told.length > 1, 'tokens come as they are drawn, not all at the end')
        sameAsWhole(told, one)
        const [last, end] = [told.at(-1) as Tokens, events.find((e) => e.type === 'sample' && e.index === one.index)]
        assert(events.indexOf(last) < events.indexOf(end as Sample), 'the whole comes last')
      }
    },
  },
  {
    name: 'streamed tokens do not depend on who else is served',
    async run({ engine }) {
      const alone = await sample(engine, { ...ASKED, stream: true })
      const others = [1, 2, 3].map((i) => sample(engine, { prompt: SHORT.tokens, maxTokens: 4 * i, seed: String(i) }))
      const together = await sample(engine, { ...ASKED, stream: true })
      await Promise.all(others)
      for (const index of [0, 1, 2]) {
        const of = (events: GenerationEvent[]) => ofType(events, 'tokens').filter((event) => event.index === index)
        const [found, wanted] = [of(together), of(alone)]
        assert.deepEqual(joined(found), joined(wanted), 'tokens')
        sameBits(Float32Array.from(found.flatMap(logprobs)), Float32Array.from(wanted.flatMap(logprobs)), 'logprobs')
      }
    },
  },
  {
    name: 'who does not ask for tokens hears of none',
    async run({ engine }) {
      assert.deepEqual(ofType(await sample(engine, ASKED), 'tokens'), [])
    },
  },
  {
    name: 'an abort between two tokens ends the stream and frees its place',
    async run({ engine }) {
      const abort = new AbortController()
      const request = generation(newId(), { maxTokens: engine.info.maxContext - 2, stream: true })
      const events = engine.generate(request, abort.signal)
      const heard = async () => {
        for await (const event of events) if (event.type === 'tokens') abort.abort()
      }
      await refused(heard(), 'CANCELLED')
      assert.equal((await engine.status()).sampling, 0)
    },
  },
]

function ofType<T extends GenerationEvent['type']>(events: readonly GenerationEvent[], type: T) {
  return events.filter((event): event is Extract<GenerationEvent, { type: T }> => event.type === type)
}

const byIndex = (a: Sample, b: Sample) => a.index - b.index
const logprobs = (event: Tokens) => [...event.logprobs]
const joined = (events: readonly Tokens[]) => events.flatMap(({ tokens }) => [...tokens])

function sameAsWhole(told: readonly Tokens[], whole: Sample): void {
  let length = 0
  for (const { start, tokens } of told) {
    assert.equal(start, length, 'each event begins where the last one ended')
    length += tokens.length
  }
  assert.deepEqual(joined(told), [...whole.tokens])
  sameBits(Float32Array.from(told.flatMap(logprobs)), whole.logprobs, 'logprobs')
  assert.deepEqual(
    told.flatMap(({ topk }) => [...(topk?.ids ?? [])]),
    [...(whole.topk?.ids ?? [])],
  )
  const best = told.flatMap(({ topk }) => [...(topk?.logprobs ?? [])])
  sameBits(Float32Array.from(best), whole.topk?.logprobs ?? new Float32Array(), 'best logprobs')
}
