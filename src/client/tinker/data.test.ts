// What callers hand over: prompts of several kinds, tensors in both layouts, examples made by helpers, addresses, encodings.
import { decompress } from 'fzstd'
import { describe, expect, it } from 'vitest'
import { tinker_public as pb } from '../../generated/tinker-proto.js'
import { camelized, snaked } from './camel.ts'
import {
  ModelInput,
  parseTinkerPath,
  policyDatum,
  supervisedDatum,
  toDense,
  toSparse,
  withProvenance,
} from './index.ts'
import { encodeSampleRequest } from './sampling-wire.ts'
import { chunksOf, encodeTrainingRequest } from './training-wire.ts'
import { zstdFrame } from './zstd-frame.ts'

describe('a model input', () => {
  const image = { type: 'image', data: new Uint8Array([1, 2]), format: 'png', expectedTokens: 5 } as const
  const sound = { type: 'dmel', dmel: new Uint8Array([0xfe, 1, 2, 0xac, 0x02, 4]) } as const

  it('adds to its last text, and keeps other chunks apart', () => {
    const input = ModelInput.fromInts([1]).append([2]).appendInt(3).append(image).append([4])
    expect(input.chunks.map(({ type }) => type)).toEqual(['encoded_text', 'image', 'encoded_text'])
    expect(input.length).toBe(9)
    expect(() => input.toInts()).toThrow('this has image')
    expect(ModelInput.empty().append([1]).toInts()).toEqual([1])
  })

  it('knows how long sound is by its header, and of an image only what it is told', () => {
    expect(ModelInput.empty().append(sound).length).toBe(300)
    const unknown = { type: 'image', data: image.data, format: 'png' } as const
    expect(() => ModelInput.empty().append(unknown).length).toThrow('give its expectedTokens')
    const damaged = { type: 'dmel', dmel: new Uint8Array([1, 200]) } as const
    expect(() => ModelInput.empty().append(damaged).length).toThrow('ends early')
  })

  it('goes to training as bytes and to sampling as base64', () => {
    const prompt = ModelInput.fromInts([7]).append(image).append(sound)
    const [chunk] = chunksOf([{ modelInput: prompt, lossFnInputs: {} }], { data: 9, bytes: 99 })
    expect(chunk!.data[0]!.model_input).toMatchObject([
      { encoded_text: {} },
      { image: { data: image.data, format: 'png', expected_tokens: 5 } },
      { dmel: { dmel: sound.dmel } },
    ])
    expect(chunk!.bytes).toBe(4 + 2 + 6)
    const head = { samplingSessionId: 's', seqId: 0n, recordStabilityInfo: false }
    const body = encodeSampleRequest({ prompt }, head)
    expect(body.prompt.chunks[1]).toEqual({ type: 'image', data: 'AQI=', format: 'png', expected_tokens: 5 })
    const pointer = { type: 'image_asset_pointer', location: 'x', format: 'png' } as const
    const pointing = { modelInput: ModelInput.empty().append(pointer), lossFnInputs: {} }
    expect(() => chunksOf([pointing], { data: 9, bytes: 99 })).toThrow('Training takes no image_asset_pointer')
  })
})

describe('a tensor', () => {
  const dense = { data: [0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0], dtype: 'int64', shape: [2, 6] } as const

  it('is made sparse where that is smaller, and dense again', () => {
    const sparse = toSparse(dense)
    expect(sparse).toEqual({ data: [3], dtype: 'int64', shape: [2, 6], crowIndices: [0, 0, 1], colIndices: [0] })
    expect(Array.from(toDense(sparse))).toEqual([...dense.data])
    const full = { data: [1, 2, 3, 4], dtype: 'int64', shape: [2, 2] } as const
    expect(toSparse(full)).toBe(full)
  })

  it('leaves out what is asked to be left out', () => {
    const ids = {
      data: Array.from({ length: 12 }, (_, i) => (i === 7 ? 0 : -1)),
      dtype: 'int64',
      shape: [2, 6],
    } as const
    const sparse = toSparse(ids, -1)
    expect(sparse).toMatchObject({ data: [0], colIndices: [1] })
    expect(Array.from(toDense(sparse, -1))).toEqual(ids.data)
  })

  it('with indices outside of itself is refused', () => {
    const wrong = { data: [1], dtype: 'int64', shape: [1, 2], crowIndices: [0, 1], colIndices: [5] } as const
    expect(() => toDense(wrong)).toThrow('Column 5 is outside of 2 columns')
  })
})

describe('an example', () => {
  it('predicts each token of the completion from what is before it', () => {
    const datum = supervisedDatum({ prompt: [1, 2], completion: [3, 4] })
    expect(datum.modelInput.toInts()).toEqual([1, 2, 3])
    expect(datum.lossFnInputs).toEqual({ target_tokens: [2, 3, 4], weights: [0, 1, 1] })
  })

  it('of a sample carries its log-probabilities and advantages', () => {
    const datum = policyDatum({ prompt: [1, 2], completion: [3, 4], logprobs: [-1, -2], advantages: 0.5 })
    expect(datum.lossFnInputs).toEqual({ target_tokens: [2, 3, 4], logprobs: [0, -1, -2], advantages: [0, 0.5, 0.5] })
    const short = { prompt: [1], completion: [3, 4], logprobs: [-1], advantages: 1 }
    expect(() => policyDatum(short)).toThrow('There are 1 logprobs for a completion of 2 tokens')
    expect(() => supervisedDatum({ prompt: [], completion: [1] })).toThrow('prompt is empty')
  })

  it('says where its tokens came from, and covers them exactly', () => {
    const datum = supervisedDatum({ prompt: [1, 2], completion: [3, 4] })
    const spans = {
      modelInput: [
        { kind: 'prompt', sequenceId: 's', length: 2 },
        { kind: 'sampled', sequenceId: 's', length: 1 },
      ],
      lossFnInputs: [
        { kind: 'prompt', sequenceId: 's', offset: 1, length: 1 },
        { kind: 'sampled', sequenceId: 's', length: 2 },
      ],
    } as const
    const [chunk] = chunksOf([withProvenance(datum, spans)], { data: 9, bytes: 999 })
    const head = { modelId: 'm', lossName: 'stable_reinforce', lossConfig: {}, isForwardOnly: false }
    const sent = pb.ForwardBackwardRequest.decode(encodeTrainingRequest(head, chunk!, 1)).data[0]!
    expect(sent.model_input_spans?.[1]).toMatchObject({ sampled_tokens: { sequence_id: 's', length: 1 } })
    expect(sent.loss_fn_input_spans?.[0]).toMatchObject({ prompt_tokens: { sequence_id: 's', offset: 1, length: 1 } })
    const short = { ...spans, modelInput: spans.modelInput.slice(0, 1) }
    expect(() => withProvenance(datum, short)).toThrow('modelInput cover 2 positions, but it has 3')
  })
})

it('the address of a checkpoint has three parts', () => {
  expect(parseTinkerPath('tinker://s:train:0/sampler_weights/a')).toEqual({
    tinkerPath: 'tinker://s:train:0/sampler_weights/a',
    trainingRunId: 's:train:0',
    checkpointType: 'sampler',
    checkpointId: 'sampler_weights/a',
  })
  for (const bad of ['http://s/weights/a', 'tinker://s/weights', 'tinker://s/weights/a/b', 'tinker://s/toString/a']) {
    expect(() => parseTinkerPath(bad)).toThrow('is no checkpoint')
  }
})

it('names are converted, data are not', () => {
  const wire = {
    lora_rank: 8,
    user_metadata: { my_key: 1 },
    sessions: { an_id: { user_metadata: { a_b: 2 } } },
    list: [{ is_lora: true }],
  }
  const camel = camelized(wire)
  expect(camel).toEqual({
    loraRank: 8,
    userMetadata: { my_key: 1 },
    sessions: { an_id: { userMetadata: { a_b: 2 } } },
    list: [{ isLora: true }],
  })
  expect(snaked(camel)).toEqual(wire)
})

describe('a zstd frame', () => {
  const cases: Record<string, Uint8Array> = {
    nothing: new Uint8Array(0),
    'a few bytes': Uint8Array.from([1, 2, 3]),
    'long runs between others': Uint8Array.from({ length: 300_000 }, (_, i) => (i % 1000 < 900 ? 7 : i % 251)),
    'more than a block without runs': Uint8Array.from({ length: 300_000 }, (_, i) => (i * 7) % 251),
    'one run of more than a block': new Uint8Array(300_000),
  }
  for (const [name, bytes] of Object.entries(cases)) {
    it(`of ${name} is decoded to the same bytes`, () => {
      expect(Buffer.from(decompress(zstdFrame(bytes))).equals(bytes)).toBe(true)
    })
  }

  it('of runs is small', () => expect(zstdFrame(new Uint8Array(300_000)).length).toBeLessThan(30))
})
