import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { TrainingDatum } from '../../backends/backend.ts'
import { resolveCatalogueLoss } from '../../catalogue/losses/catalogue.ts'
import type { Schemas } from '../../generated/operations.ts'
import { tinker_public } from '../../generated/tinker-proto.js'
import type { TrainingCall } from '../calls.ts'
import { int64Bytes, rawBytes } from './bytes.ts'
import { MAX_MESSAGES } from './scan.ts'
import { MAX_SPARSE_CELLS } from './tensors.ts'
import {
  decodeJournalledTraining,
  decodeTraining,
  encodeTrainingCall,
  peekTraining,
  trainingOfJson,
} from './training.ts'

const hex = (text: string) => new Uint8Array(Buffer.from(text, 'hex'))

// Recorded from the encoder of SDK 0.38.0 and of 0.25.
const DATUM =
  '1a640a100a0e0a0c01000000020000000300000012300a0d7461726765745f746f6b656e73121f0a18020000000000000003000000000000000400000000000000' +
  '1802220103121e0a077765696768747312130a0c000000000000803f0000803f1801220103'
const GOLDEN_25 = hex(
  `0a096d3a747261696e3a301001${DATUM}220d63726f73735f656e74726f70792a0f0a0462657461119a9999999999a93f3001`,
)
const GOLDEN_26 = hex(`${Buffer.from(GOLDEN_25).toString('hex')}3a110a04626574611209099a9999999999a93f`)
const GOLDEN_CUSTOM = hex(
  `0a096d3a747261696e3a301001${DATUM}2206637573746f6d3a130a076c6f73735f6964120812066c6f73732d31`,
)
const GOLDEN_SPANS = hex(
  '0a096d3a747261696e3a3010011a8a010a100a0e0a0c01000000020000000300000012300a0d7461726765745f746f6b656e73121f0a18020000000000000003' +
    '0000000000000004000000000000001802220103121e0a077765696768747312130a0c000000000000803f0000803f18012201031a070a050a017318021a0712' +
    '050a0173180122090a070a017310011801220712050a017318022210737461626c655f7265696e666f7263652a130a086b6c5f636f656666119a9999999999b9' +
    '3f3a150a086b6c5f636f6566661209099a9999999999b93f',
)

const call: TrainingCall = {
  modelId: 'm:train:0',
  seqId: 1,
  forwardOnly: true,
  lossName: 'cross_entropy',
  lossConfig: { beta: 0.05 },
  datums: [
    {
      tokens: Int32Array.of(1, 2, 3),
      targets: Int32Array.of(2, 3, 4),
      width: 1,
      weights: Float32Array.of(0, 1, 1),
    },
  ],
  matrix: [false],
}

describe('bytes of the real SDK', () => {
  it('mean the same from 0.25 and from 0.26, and are the canonical form', () => {
    expect(decodeTraining(GOLDEN_26)).toEqual(call)
    expect(decodeTraining(GOLDEN_25)).toEqual(call)
    expect(Buffer.from(encodeTrainingCall(call))).toEqual(Buffer.from(GOLDEN_26))
  })

  it('may configure a loss by text', () => {
    expect(decodeTraining(GOLDEN_CUSTOM)).toMatchObject({ lossName: 'custom', lossConfig: { loss_id: 'loss-1' } })
  })

  it('is refused when provenance spans do not cover its positions, are of no kind, or name no sequence', () => {
    const span = (length: number, more: object = {}) => ({
      sampled_tokens: { sequence_id: 's', offset: 0, length, ...more },
    })
    const tensor = { data: [2, 3, 4], dtype: 'int64' as const }
    const read = (input: unknown, loss: unknown = input) => {
      const spans = { model_input_spans: input, loss_fn_input_spans: loss } as object
      const datum = {
        model_input: { chunks: [{ tokens: [1, 2, 3] }] },
        loss_fn_inputs: { target_tokens: tensor },
        ...spans,
      }
      const body = { model_id: 'm', forward_backward_input: { data: [datum], loss_fn: 'cross_entropy' } }
      return trainingOfJson(body as Parameters<typeof trainingOfJson>[0])
    }
    expect(read([span(1), span(0), span(2)]).datums).toHaveLength(1)
    expect(read(null).datums).toHaveLength(1)
    for (const wrong of [[span(2)], [span(4)], [span(3, { sequence_id: '' })], [{}], [span(-1), span(4)]]) {
      expect(() => read(wrong)).toThrow(expect.objectContaining({ code: 'INVALID_SPANS' }))
      expect(() => read([span(3)], wrong)).toThrow(expect.objectContaining({ code: 'INVALID_SPANS' }))
    }
    expect(() => read([span(3)], null)).toThrow(/loss_fn_input_spans covers 0 of 3/)
  })

  it('may carry provenance spans, which say nothing about the loss', () => {
    const { lossName, datums } = decodeTraining(GOLDEN_SPANS)
    expect({ lossName, datums }).toEqual({ lossName: 'stable_reinforce', datums: call.datums })
  })

  it('may lie at any offset of a larger buffer', () => {
    const shifted = new Uint8Array(GOLDEN_26.length + 3)
    shifted.set(GOLDEN_26, 3)
    expect(decodeTraining(shifted.subarray(3))).toEqual(call)
  })
})

const finite = fc.float({ noNaN: true, noDefaultInfinity: true })
const token = fc.integer({ min: 0, max: 2 ** 31 - 1 })
const row = <T>(of: fc.Arbitrary<T>, length: number) => fc.array(of, { minLength: length, maxLength: length })

const datumOf = (length: number, width: number) =>
  fc.record(
    {
      tokens: row(token, length).map((values) => Int32Array.from(values)),
      targets: row(token, length * width).map((values) => Int32Array.from(values)),
      width: fc.constant(width),
      weights: row(finite, length * width).map((values) => Float32Array.from(values)),
      logprobs: row(finite, length).map((values) => Float32Array.from(values)),
      advantages: row(finite, length).map((values) => Float32Array.from(values)),
    },
    { requiredKeys: ['tokens', 'targets', 'width'] },
  )

const anyCall: fc.Arbitrary<TrainingCall> = fc
  .array(
    fc
      .record({ length: fc.integer({ min: 1, max: 6 }), width: fc.integer({ min: 1, max: 3 }), matrix: fc.boolean() })
      .chain(({ length, width, matrix }) =>
        fc.record({ datum: datumOf(length, width), matrix: fc.constant(width > 1 || matrix) }),
      ),
    { minLength: 1, maxLength: 4 },
  )
  .chain((datums) =>
    fc.record({
      modelId: fc.string({ minLength: 1 }),
      seqId: fc.nat(),
      forwardOnly: fc.boolean(),
      lossName: fc.string({ minLength: 1 }),
      lossConfig: fc.dictionary(
        fc.string().filter((key) => key !== '__proto__'),
        fc.oneof(fc.double({ noNaN: true }), fc.string()),
        { noNullPrototype: true },
      ),
      datums: fc.constant(datums.map(({ datum }) => datum)),
      matrix: fc.constant(datums.map(({ matrix }) => matrix)),
    }),
  )

describe('the canonical form', () => {
  it('gives every call back', () => {
    fc.assert(
      fc.property(anyCall, (any) => {
        expect(decodeTraining(encodeTrainingCall(any))).toEqual(any)
      }),
    )
  })

  it("keeps a loss of Twinkle's catalogue with all it reads, for the journal alone", () => {
    const { name, config } = resolveCatalogueLoss('PPOLoss', { beta: 0.1 })
    const [plain] = call.datums as [TrainingDatum]
    const { weights: _, ...rest } = plain
    const datum: TrainingDatum = {
      ...rest,
      mask: Float32Array.of(0, 1, 1),
      logprobs: Float32Array.of(0, -1, -2),
      ref_logps: Float32Array.of(0, -1.5, -2.5),
      advantages: Float32Array.of(0, 1, -1),
    }
    const soft = { ...rest, targets: new Int32Array(6), width: 2, teacher_topk_logprobs: new Float32Array(6).fill(-1) }
    const native: TrainingCall = {
      ...call,
      family: 'twinkle',
      lossName: name,
      lossConfig: config,
      datums: [datum, soft],
      matrix: [false, true],
    }
    const bytes = encodeTrainingCall(native)
    expect(decodeJournalledTraining(bytes)).toEqual(native)
    expect(() => decodeTraining(bytes)).toThrow(expect.objectContaining({ code: 'UNKNOWN_LOSS_INPUT' }))
    // The same inputs with a loss of the Tinker wire are not kept: they were not read.
    const { family, ...tinker } = { ...native, lossName: 'cross_entropy', lossConfig: {} }
    expect(family).toBe('twinkle')
    expect(decodeJournalledTraining(encodeTrainingCall(tinker)).datums[0]).not.toHaveProperty('mask')
  })

  it('does not depend on the order of keys', () => {
    const one = { ...call, lossConfig: { a: 1, b: 'x' } }
    const other = { ...call, lossConfig: { b: 'x', a: 1 } }
    expect(encodeTrainingCall(one)).toEqual(encodeTrainingCall(other))
  })
})

/** A JSON body as SDK 0.3.0 to 0.16.1 send it: no `type`, nothing that was not set. */
function json(datum: Partial<Schemas['Datum']> = {}): Schemas['ForwardBackwardRequest'] {
  return {
    model_id: 'm:train:0',
    forward_backward_input: {
      data: [
        {
          model_input: { chunks: [{ tokens: [1] }, { tokens: [2, 3] }] },
          loss_fn_inputs: {
            target_tokens: { data: [2, 3, 4], dtype: 'int64' },
            weights: { data: [0, 1, 1], dtype: 'float32' },
          },
          ...datum,
        },
      ],
      loss_fn: 'cross_entropy',
      loss_fn_config: { beta: 0.05 },
    },
  }
}

describe('JSON', () => {
  it('ends in the same call as protobuf', () => {
    const { forward_backward_input, model_id } = json()
    expect(trainingOfJson({ forward_input: forward_backward_input, model_id, seq_id: '1' })).toEqual(call)
    expect(trainingOfJson({ ...json(), seq_id: null })).toEqual({ ...call, seqId: 0, forwardOnly: false })
  })

  it('ignores what scripts keep in a datum for themselves', () => {
    const { loss_fn_inputs } = json().forward_backward_input.data[0]!
    const mask = { data: [1, 1, 1], dtype: 'float32' as const }
    expect(trainingOfJson(json({ loss_fn_inputs: { ...loss_fn_inputs, mask } })).datums).toEqual(call.datums)
  })
})

const targets = { data: [2, 3, 4], dtype: 'int64' as const }
const inputs = (more: object) => json({ loss_fn_inputs: { target_tokens: targets, ...more } })
const refusal = (body: Schemas['ForwardBackwardRequest']) => {
  try {
    trainingOfJson(body)
  } catch (error) {
    return error as Error & { code: string }
  }
  throw new Error('it was accepted')
}

describe('(N, K) targets', () => {
  const shape = [3, 2]

  it('keep their width, and the answer gets their form', () => {
    const target_tokens = { data: [1, 2, 3, 4, 5, 6], dtype: 'int64', shape } as const
    const { datums, matrix } = trainingOfJson(inputs({ target_tokens }))
    expect(datums[0]).toMatchObject({ width: 2, targets: Int32Array.of(1, 2, 3, 4, 5, 6) })
    expect(matrix).toEqual([true])
    const single = { data: [1, 2, 3], dtype: 'int64', shape: [3, 1] }
    expect(trainingOfJson(inputs({ target_tokens: single }))).toMatchObject({ matrix: [true], datums: [{ width: 1 }] })
  })

  it('may be sparse: cells that are not listed are 0', () => {
    const sparse = { shape, sparse_crow_indices: [0, 1, 1, 3], sparse_col_indices: [1, 1, 0] }
    const body = inputs({
      target_tokens: { data: [7, 8, 9], dtype: 'int64', ...sparse },
      weights: { data: [0.5, 1, 2], dtype: 'float32', ...sparse },
    })
    const [datum] = trainingOfJson(body).datums
    expect(datum?.targets).toEqual(Int32Array.of(0, 7, 0, 0, 9, 8))
    expect(datum?.weights).toEqual(Float32Array.of(0, 0.5, 0, 0, 2, 1))
  })

  it('are the same sparse in protobuf', () => {
    const csr = (values: Uint8Array) => ({
      sparse_csr: { values, crow_indices: int64Bytes([0, 1, 1, 3]), col_indices: int64Bytes([1, 1, 0]) },
      shape,
    })
    const bytes = tinker_public.ForwardBackwardRequest.encode({
      model_id: 'm',
      loss_fn: 'cross_entropy',
      data: [
        {
          model_input: [{ encoded_text: { tokens: rawBytes(Int32Array.of(1, 2, 3)) } }],
          loss_fn_inputs: {
            target_tokens: { ...csr(int64Bytes([7, 8, 9])), dtype: tinker_public.DType.DTYPE_INT64 },
            weights: { ...csr(rawBytes(Float32Array.of(0.5, 1, 2))), dtype: tinker_public.DType.DTYPE_FLOAT32 },
          },
        },
      ],
    }).finish()
    const [datum] = decodeTraining(bytes).datums
    expect(datum?.targets).toEqual(Int32Array.of(0, 7, 0, 0, 9, 8))
    expect(datum?.weights).toEqual(Float32Array.of(0, 0.5, 0, 0, 2, 1))
  })
})

describe('numbers of other types', () => {
  const encoded = (tensor: tinker_public.Tensor.$Properties) =>
    tinker_public.ForwardBackwardRequest.encode({
      model_id: 'm',
      loss_fn: 'cross_entropy',
      data: [
        {
          model_input: [{ encoded_text: { tokens: rawBytes(Int32Array.of(1, 2)) } }],
          loss_fn_inputs: {
            target_tokens: { dense: int64Bytes([5, 6]), dtype: 2, shape: [2] },
            weights: tensor,
          },
        },
      ],
    }).finish()
  const weights = (tensor: tinker_public.Tensor.$Properties) => decodeTraining(encoded(tensor)).datums[0]?.weights

  it('are widened where floats are wanted', () => {
    const expected = Float32Array.of(1, -2)
    expect(weights({ dense: int64Bytes([1, -2]), dtype: 2, shape: [2] })).toEqual(expected)
    expect(weights({ dense: rawBytes(Int32Array.of(1, -2)), dtype: 3, shape: [2] })).toEqual(expected)
    expect(weights({ dense: hex('803f00c0'), dtype: 4, shape: [2] })).toEqual(expected)
    expect(weights({ dense: rawBytes(expected), dtype: 1 })).toEqual(expected)
  })

  it.each([
    ['no dtype', { dense: hex('0000803f'), shape: [1] }, /dtype number 0.*float32, int64/],
    ['bytes that are not whole elements', { dense: hex('0000803f00'), dtype: 1, shape: [1] }, /has 5 bytes/],
    ['a shape that lies', { dense: hex('0000803f'), dtype: 1, shape: [2] }, /1 values, .*fill its shape \[2\]/],
    ['a negative shape', { dense: hex(''), dtype: 1, shape: [-2] }, /shape \[-2\]/],
    ['a shape whose product overflows', { dense: hex(''), dtype: 1, shape: [2 ** 52, 2 ** 52] }, /fill its shape/],
    ['a shape beyond exact integers', { dense: hex(''), dtype: 1, shape: [2 ** 53, 0] }, /2\^53|shape/],
    ['no encoding at all', { dtype: 1, shape: [2] }, /0 values/],
    ['NaN', { dense: hex('0000c07f0000803f'), dtype: 1, shape: [2] }, /weights has NaN at position 0/],
    ['infinity', { dense: hex('0000803f0000807f'), dtype: 1, shape: [2] }, /Infinity at position 1/],
  ])('are refused with %s', (_, tensor, message) => {
    expect(() => weights(tensor)).toThrow(message)
  })
})

describe('what is refused by name', () => {
  it.each([
    ['an image', { data: 'aaaa', format: 'png' }, 'image'],
    ['an image by address', { location: 'https://example.org/cat.png' }, 'image_asset_pointer'],
    ['an image that counts its tokens, as SDK 0.3 does', { data: 'aaaa', format: 'png', tokens: 4 }, 'image'],
    ['audio', { dmel: 'aaaa' }, 'dmel'],
  ])('%s', (_, chunk, type) => {
    const chunks = [{ tokens: [1] }, chunk] as Schemas['ModelInput']['chunks']
    const error = refusal(json({ model_input: { chunks } }))
    expect(error.message).toContain(`Datum 0 has a chunk of type ${type},`)
    expect(error.code).toBe('UNSUPPORTED_CHUNK')
  })

  it('an image in protobuf', () => {
    const bytes = tinker_public.ForwardBackwardRequest.encode({
      model_id: 'm',
      loss_fn: 'x',
      data: [{ model_input: [{ image: { data: hex('00'), format: 'png' } }] }],
    }).finish()
    expect(() => decodeTraining(bytes)).toThrow(/Datum 0 has a chunk of type image/)
  })

  it.each([
    ['no datums', { ...json(), forward_backward_input: { data: [], loss_fn: 'ppo' } }, /no datums/],
    ['no tokens', json({ model_input: { chunks: [] } }), /Datum 0 has no tokens/],
    ['no targets', json({ loss_fn_inputs: {} }), /needs loss_fn_inputs.target_tokens/],
    ['an unknown input', inputs({ advantage: targets }), /no loss_fn_inputs.advantage\. Did you mean "advantages"/],
    ['targets of another length', inputs({ target_tokens: { data: [1], dtype: 'int64' } }), /\[1\].*\[3, K\]/],
    ['targets that are floats', inputs({ target_tokens: { data: [1, 2, 3], dtype: 'float32' } }), /int64/],
    ['a target beyond 32 bits', inputs({ target_tokens: { data: [1, 2, 2 ** 31], dtype: 'int64' } }), /2147483648/],
    ['a fractional target', inputs({ target_tokens: { data: [1, 2.5, 3], dtype: 'int64' } }), /2\.5 at position 1/],
    ['a token beyond 32 bits', json({ model_input: { chunks: [{ tokens: [1, 2, 1e10] }] } }), /10000000000/],
    [
      'advantages for K targets',
      inputs({ advantages: { data: [1, 2, 3, 4, 5, 6], dtype: 'float32', shape: [3, 2] } }),
      /\[3, 2\]\. Expected is \[3\]/,
    ],
    [
      'three dimensions',
      inputs({ target_tokens: { data: [1, 2, 3], dtype: 'int64', shape: [3, 1, 1] } }),
      /\[3, 1, 1\]/,
    ],
    ['no columns', inputs({ target_tokens: { data: [], dtype: 'int64', shape: [3, 0] } }), /\[3, 0\]/],
    ['an absurd number', { ...json(), seq_id: '189992462000000000' }, /beyond 2\^53/],
  ])('%s', (_, body, message) => {
    expect(refusal(body).message).toMatch(message)
  })

  const sparse = (more: object) =>
    inputs({
      target_tokens: {
        data: [7, 8],
        dtype: 'int64',
        shape: [3, 2],
        sparse_crow_indices: [0, 1, 1, 2],
        sparse_col_indices: [0, 1],
        ...more,
      },
    })
  it.each([
    ['too few row starts', { sparse_crow_indices: [0, 2] }, /2 row starts for 3 rows/],
    ['row starts that go back', { sparse_crow_indices: [0, 2, 1, 2] }, /2, 1 at row 1/],
    ['row starts beyond the values', { sparse_crow_indices: [0, 9, 9, 2] }, /0, 9 at row 0/],
    ['row starts that end early', { sparse_crow_indices: [0, 1, 1, 1] }, /from 0 to 2/],
    ['a column beyond the shape', { sparse_col_indices: [0, 2] }, /column 2 in row 2.*0 to 1/],
    ['a negative column', { sparse_col_indices: [-1, 1] }, /column -1/],
    ['no columns', { sparse_col_indices: null }, /2 values in 0 columns/],
    ['one dimension', { shape: [6] }, /sparse and has the shape \[6\]/],
    ['a cell twice', { sparse_crow_indices: [0, 2, 2, 2], sparse_col_indices: [1, 1] }, /column 1 twice/],
  ])('a sparse tensor with %s', (_, more, message) => {
    expect(refusal(sparse(more)).message).toMatch(message)
  })

  it('a few sparse indices that stand for gigabytes of zeros', () => {
    const error = refusal(sparse({ shape: [3, MAX_SPARSE_CELLS] }))
    expect(error).toMatchObject({ code: 'TENSOR_TOO_LARGE', status: 413 })
  })
})

describe('broken protobuf', () => {
  it('is refused, and its number can be told', () => {
    const broken = GOLDEN_26.subarray(0, 60)
    expect(() => decodeTraining(broken)).toThrow(/not a valid ForwardBackwardRequest/)
    expect(peekTraining(broken)).toEqual({ modelId: 'm:train:0', seqId: 1 })
    expect(peekTraining(hex('ffffffff'))).toEqual({})
  })

  it('never does worse than an error of the catalogue', () => {
    const anyBytes = fc.oneof(
      fc.uint8Array({ maxLength: 200 }),
      fc
        .tuple(fc.nat(GOLDEN_26.length - 1), fc.integer({ min: 0, max: 255 }))
        .map(([at, byte]) => GOLDEN_26.with(at, byte)),
    )
    fc.assert(
      fc.property(anyBytes, (bytes) => {
        peekTraining(bytes)
        try {
          decodeTraining(bytes)
        } catch (error) {
          expect(error).toMatchObject({ name: 'ServiceError', category: 'user' })
        }
      }),
      { numRuns: 500 },
    )
  })

  it('cannot make millions of objects out of a few bytes', () => {
    const datums = new Uint8Array(2 * (MAX_MESSAGES + 1)).map((_, i) => (i % 2 === 0 ? 0x1a : 0))
    const size = Buffer.from([0x1a, 0x80, 0x80, 0x20])
    const chunks = Buffer.concat([size, new Uint8Array(2 ** 19).map((_, i) => (i % 2 === 0 ? 0x0a : 0))])
    for (const bytes of [datums, chunks]) {
      expect(() => decodeTraining(bytes)).toThrow(expect.objectContaining({ code: 'BODY_TOO_COMPLEX' }))
    }
  })
})
