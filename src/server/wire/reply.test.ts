import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { SampleReply, TrainingReply } from '../calls.ts'
import {
  decodeSampleReply,
  decodeTrainingReply,
  encodeReply,
  encodeSampleReply,
  encodeTrainingReply,
  replyJson,
} from './reply.ts'

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex')

const flat = (...values: number[]) => ({ values: Float32Array.from(values), width: 1, matrix: false })

// Decoded and encoded alike by the SDK 0.38.0.
const TRAINING: TrainingReply = { logprobs: [flat(-1, -2, -3), flat(-4, -5)], metrics: { 'loss:sum': 2.5 } }
const TRAINING_BYTES =
  '0a0f546f7263684c6f737352657475726e12530a0f546f7263684c6f737352657475726e123e0a086c6f6770726f627312320a14000080bf000000c0000040c0' +
  '000080c00000a0c0121800000000000000000c000000000000001400000000000000180118021a130a086c6f73733a73756d110000000000000440'
const SAMPLE: SampleReply = {
  sequences: [
    { tokens: Int32Array.of(5, 6), logprobs: Float32Array.of(-0.5, -1), stopReason: 'stop' },
    { tokens: Int32Array.of(7), logprobs: Float32Array.of(-2), stopReason: 'length' },
  ],
  promptLogprobs: Float32Array.of(Number.NaN, -1, -2),
  promptCacheHitTokens: 0,
}
const SAMPLE_BYTES =
  '0a14120805000000060000001a08000000bf000080bf0a0e08011204070000001a04000000c0120c0000c07f000080bf000000c0'

describe('protobuf results', () => {
  it('are the bytes of the SDK', () => {
    expect(hex(encodeTrainingReply(TRAINING))).toBe(TRAINING_BYTES)
    expect(hex(encodeSampleReply(SAMPLE))).toBe(SAMPLE_BYTES)
    expect(decodeTrainingReply(Buffer.from(TRAINING_BYTES, 'hex'))).toEqual(TRAINING)
    expect(decodeSampleReply(Buffer.from(SAMPLE_BYTES, 'hex'))).toEqual(SAMPLE)
  })

  it('hold the best tokens of a sampled position', () => {
    const [stopped, cut] = SAMPLE.sequences
    const topk = { k: 2, ids: Int32Array.of(7, 9), logprobs: Float32Array.of(-2, -3) }
    const bytes = encodeSampleReply({ ...SAMPLE, sequences: [stopped!, { ...cut!, topk }] })
    expect(hex(bytes)).toBe(
      SAMPLE_BYTES.replace(
        '0a0e08011204070000001a04000000c0',
        '0a2808011204070000001a04000000c022180a0807000000090000001208000000c0000040c018022001',
      ),
    )
    expect(decodeSampleReply(bytes).sequences[1]?.topk).toEqual(topk)
  })

  it('refuse a metric that clients cannot combine', () => {
    expect(() => encodeTrainingReply({ logprobs: [], metrics: { loss: 1 } })).toThrow(/name:reduction/)
    expect(() => encodeTrainingReply({ logprobs: [], metrics: { 'a:b:sum': 1 } })).toThrow(/name:reduction/)
  })

  it('give every training reply back, in order, whatever shapes follow each other', () => {
    const datum = fc
      .record({ rows: fc.nat(4), width: fc.integer({ min: 1, max: 3 }), isMatrix: fc.boolean() })
      .chain(({ rows, width, isMatrix }) => {
        const matrix = isMatrix || width > 1
        return fc
          .array(fc.float(), { minLength: rows * width, maxLength: rows * width })
          .map((values) => ({ values: Float32Array.from(values), width, matrix }))
      })
    fc.assert(
      fc.property(fc.array(datum), fc.double(), (logprobs, loss) => {
        const reply = { logprobs, metrics: { 'loss:sum': loss } }
        expect(decodeTrainingReply(encodeTrainingReply(reply))).toEqual(reply)
      }),
    )
  })

  it("keep what only losses of Twinkle's catalogue have beside the rest", () => {
    const rows = [Float32Array.of(0.5, 1), Float32Array.of(2)]
    const reply = { ...TRAINING, entropies: rows, embeddings: [...rows].reverse() }
    expect(decodeTrainingReply(encodeTrainingReply(reply))).toEqual(reply)
    const bare = { ...TRAINING, logprobs: [flat(), flat()], embeddings: rows }
    expect(decodeTrainingReply(encodeTrainingReply(bare))).toEqual(bare)
  })

  it('give every sample reply back', () => {
    const sequence = fc.array(fc.record({ token: fc.nat(2 ** 31 - 1), logprob: fc.float() })).map((steps) => ({
      tokens: Int32Array.from(steps, ({ token }) => token),
      logprobs: Float32Array.from(steps, ({ logprob }) => logprob),
      stopReason: steps.length % 2 ? ('stop' as const) : ('length' as const),
    }))
    fc.assert(
      fc.property(fc.array(sequence), fc.nat(2 ** 31 - 1), (sequences, promptCacheHitTokens) => {
        const reply = { sequences, promptCacheHitTokens }
        expect(decodeSampleReply(encodeSampleReply(reply))).toEqual(reply)
      }),
    )
  })
})

describe('JSON results for old SDKs', () => {
  it('say the same', () => {
    expect(replyJson('training', encodeReply({ type: 'training', value: TRAINING }))).toEqual({
      loss_fn_output_type: 'TorchLossReturn',
      loss_fn_outputs: [
        { logprobs: { data: [-1, -2, -3], dtype: 'float32', shape: [3] } },
        { logprobs: { data: [-4, -5], dtype: 'float32', shape: [2] } },
      ],
      metrics: { 'loss:sum': 2.5 },
    })
    expect(replyJson('sample', encodeReply({ type: 'sample', value: SAMPLE }))).toEqual({
      type: 'sample',
      sequences: [
        { stop_reason: 'stop', tokens: [5, 6], logprobs: [-0.5, -1] },
        { stop_reason: 'length', tokens: [7], logprobs: [-2] },
      ],
      prompt_logprobs: [null, -1, -2],
      prompt_cache_hit_tokens: 0,
    })
  })

  it('have (N, K) log-probabilities where targets were (N, K)', () => {
    const logprobs = [{ values: Float32Array.of(-1, -2, -3, -4), width: 2, matrix: true }]
    const bytes = encodeTrainingReply({ logprobs, metrics: {} })
    expect(replyJson('training', bytes)).toMatchObject({ loss_fn_outputs: [{ logprobs: { shape: [2, 2] } }] })
  })

  it('leave rows and cells out that hold no token', () => {
    const promptTopk = {
      k: 2,
      ids: Int32Array.of(0, 0, 5, 6, 7, 0),
      logprobs: Float32Array.of(Number.NaN, Number.NaN, -1, -2, -0.5, Number.NaN),
    }
    const bytes = encodeSampleReply({ sequences: [], promptTopk, promptCacheHitTokens: 0 })
    expect(hex(bytes)).toContain('804fc3c7') // -99999 as float32: what clients take for an empty cell
    expect(decodeSampleReply(bytes).promptTopk).toEqual(promptTopk)
    expect(replyJson('sample', bytes).topk_prompt_logprobs).toEqual([
      null,
      [
        [5, -1],
        [6, -2],
      ],
      [[7, -0.5]],
    ])
  })

  it('pass other results through', () => {
    const value = { model_id: 'm', metrics: null }
    expect(replyJson('json', encodeReply({ type: 'json', value }))).toEqual(value)
  })
})
