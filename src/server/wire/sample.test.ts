import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Schemas } from '../../generated/operations.ts'
import type { SampleCall } from '../calls.ts'
import { decodeSampleCall, encodeSampleCall, sampleOfJson } from './sample.ts'

type Body = Schemas['SampleRequest']

/** As SDK 0.38.0 sends it; the seed has been through the lossless JSON parser. */
const recorded = {
  num_samples: 2,
  prompt: { chunks: [{ tokens: [1, 2, 3, 4], type: 'encoded_text' }] },
  sampling_params: { max_tokens: 3, seed: '4611686018427387904', stop: ['x'], temperature: 0.5, top_k: -1, top_p: 1 },
  sampling_session_id: 'sess-1:sample:0',
  seq_id: 0,
  prompt_logprobs: false,
  topk_prompt_logprobs: 0,
  topk_sample_logprobs: 0,
  prompt_alt_tokens_k: 0,
  record_stability_info: false,
  type: 'sample',
} satisfies Body

const call: SampleCall = {
  samplingSessionId: 'sess-1:sample:0',
  seqId: '0',
  prompt: Int32Array.of(1, 2, 3, 4),
  samples: 2,
  maxTokens: 3,
  seed: '4611686018427387904',
  stop: { strings: ['x'], tokens: [] },
  temperature: 0.5,
  topK: 0,
  topP: 1,
  promptLogprobs: false,
  topkPromptLogprobs: 0,
  topkSampleLogprobs: 0,
}

const params = (more: Partial<Body['sampling_params']>): Body => ({
  ...recorded,
  sampling_params: { ...recorded.sampling_params, ...more },
})

describe('a request', () => {
  it('of the newest SDK', () => {
    expect(sampleOfJson(recorded)).toEqual(call)
  })

  it('of the oldest, which sends only what was set', () => {
    const body = { prompt: { chunks: [{ tokens: [1] }] }, sampling_params: {}, base_model: 'tiny' }
    expect(sampleOfJson(body)).toEqual({
      baseModel: 'tiny',
      prompt: Int32Array.of(1),
      samples: 1,
      temperature: 1,
      topK: 0,
      topP: 1,
      promptLogprobs: false,
      topkPromptLogprobs: 0,
      topkSampleLogprobs: 0,
    })
  })

  it('with null in every optional field is a request without them', () => {
    const nulls = { base_model: 'tiny', sampling_session_id: null, seq_id: null, prompt_logprobs_last_n: null }
    const body = {
      prompt: recorded.prompt,
      sampling_params: { max_tokens: null, seed: null, stop: null, temperature: null, top_k: null, top_p: null },
    }
    expect(sampleOfJson({ ...body, ...nulls })).toEqual(
      sampleOfJson({ ...body, sampling_params: {}, base_model: 'tiny' }),
    )
  })

  it('keeps numbers exact that a double would round', () => {
    expect(sampleOfJson({ ...recorded, seq_id: '189992462000000001' }).seqId).toBe('189992462000000001')
    expect(sampleOfJson(params({ seed: '-9223372036854775808' })).seed).toBe('-9223372036854775808')
    expect(sampleOfJson(params({ seed: '18446744073709551615' })).seed).toBe('18446744073709551615')
  })

  it.each([
    ['one text', '\n', { strings: ['\n'], tokens: [] }],
    ['texts', ['a', 'b'], { strings: ['a', 'b'], tokens: [] }],
    ['token ids', [7, 0], { strings: [], tokens: [7, 0] }],
    ['nothing at all', [], { strings: [], tokens: [] }],
  ])('stops at %s', (_, stop, expected) => {
    expect(sampleOfJson(params({ stop })).stop).toEqual(expected)
  })

  it('may have draws made for every place of its prompt, and other tokens scored there', () => {
    const target_prompt_logprobs = { data: [7, -1, 8], dtype: 'int64' as const, shape: [3, 1] }
    expect(sampleOfJson({ ...recorded, prompt_alt_tokens_k: 2, target_prompt_logprobs })).toEqual({
      ...call,
      promptAltTokens: 2,
      targetPromptLogprobs: { shape: [3, 1], ids: [7, -1, 8] },
    })
  })

  it('may score the end of its prompt', () => {
    const body = { ...recorded, prompt_logprobs: true, prompt_logprobs_last_n: 3 }
    expect(sampleOfJson(body)).toMatchObject({ promptLogprobs: true, promptLogprobsLastN: 3 })
  })

  it.each([
    ['nothing to sample from', { ...recorded, sampling_session_id: null }, /Send sampling_session_id, model_path or/],
    ['no prompt', { ...recorded, prompt: { chunks: [] } }, /The prompt has no tokens/],
    ['an image', { ...recorded, prompt: { chunks: [{ data: '', format: 'png' }] } } as Body, /The prompt .* image/],
    ['no samples', { ...recorded, num_samples: 0 }, /num_samples = 0 .* 1 to 1024/],
    ['a million samples', { ...recorded, num_samples: 1e6 }, /num_samples/],
    ['negative tokens', params({ max_tokens: -1 }), /max_tokens = -1/],
    ['a cold temperature', params({ temperature: -0.1 }), /temperature = -0.1 .* 0 \(greedy\) or more/],
    ['top_p 0', params({ top_p: 0 }), /top_p = 0/],
    ['top_k -2', params({ top_k: -2 }), /top_k = -2/],
    ['an empty stop text', params({ stop: ['a', ''] }), /stop = ""/],
    ['a negative stop token', params({ stop: [-1] }), /stop = -1/],
    ['a seed beyond 64 bits', params({ seed: '18446744073709551616' }), /18446744073709551616/],
    ['a negative number', { ...recorded, seq_id: -1 }, /seq_id = -1/],
    ['last_n alone', { ...recorded, prompt_logprobs_last_n: 1 }, /prompt_logprobs true/],
    ['last_n of the whole prompt', { ...recorded, prompt_logprobs: true, prompt_logprobs_last_n: 4 }, /from 1 to 3/],
    ['fewer draws than none', { ...recorded, prompt_alt_tokens_k: -1 }, /prompt_alt_tokens_k = -1/],
    [
      'a record for a loss that is not there',
      { ...recorded, record_stability_info: true },
      /stable_reinforce.* importance_sampling/,
    ],
  ])('is refused with %s', (_, body, message) => {
    expect(() => sampleOfJson(body)).toThrow(message)
  })
})

describe('the journalled form', () => {
  it('gives every call back, and equal bytes for equal calls', () => {
    const any: fc.Arbitrary<SampleCall> = fc.record(
      {
        samplingSessionId: fc.string(),
        seqId: fc.bigInt({ min: 0n, max: 10n ** 18n }).map(String),
        prompt: fc.array(fc.nat(2 ** 31 - 1)).map((tokens) => Int32Array.from(tokens)),
        samples: fc.integer({ min: 1, max: 9 }),
        maxTokens: fc.nat(),
        seed: fc.bigInt({ min: -(2n ** 63n), max: 2n ** 64n - 1n }).map(String),
        stop: fc.record({ strings: fc.array(fc.string()), tokens: fc.array(fc.nat()) }),
        temperature: fc.double({ min: 0, max: 4, noNaN: true }).map((value) => value + 0),
        topK: fc.nat(),
        topP: fc.double({ min: 0.1, max: 1, noNaN: true }),
        promptLogprobs: fc.boolean(),
        topkPromptLogprobs: fc.nat(),
        topkSampleLogprobs: fc.nat(),
        promptAltTokens: fc.nat(),
        targetPromptLogprobs: fc.record({
          shape: fc.tuple(fc.nat(), fc.nat()),
          ids: fc.array(fc.integer({ min: -1 })),
          sparse: fc.record({ starts: fc.array(fc.nat()), columns: fc.array(fc.nat()) }),
        }),
      },
      {
        noNullPrototype: true,
        requiredKeys: [
          'prompt',
          'samples',
          'temperature',
          'topK',
          'topP',
          'promptLogprobs',
          'topkPromptLogprobs',
          'topkSampleLogprobs',
        ],
      },
    )
    fc.assert(
      fc.property(any, (given) => {
        const bytes = encodeSampleCall(given)
        expect(decodeSampleCall(bytes)).toEqual(given)
        const turned = Object.fromEntries(Object.entries(given).reverse()) as unknown as SampleCall
        expect(encodeSampleCall(turned)).toEqual(bytes)
      }),
    )
  })
})
