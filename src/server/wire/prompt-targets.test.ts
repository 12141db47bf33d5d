import { describe, expect, it } from 'vitest'
import type { Schemas } from '../../generated/operations.ts'
import type { SampleReply } from '../calls.ts'
import { askedTargets, laidOut, targetsOfJson } from './prompt-targets.ts'
import { decodeSampleReply, encodeSampleReply, replyJson } from './reply.ts'

type Tensor = Schemas['TensorData']
const int64 = (data: number[], shape: number[] | null, csr?: [number[], number[]]): Tensor => ({
  data,
  dtype: 'int64',
  shape,
  ...(csr && { sparse_crow_indices: csr[0], sparse_col_indices: csr[1] }),
})
/** For a prompt of four tokens: rows 0 to 2, positions 1 to 3. */
const DENSE = int64([5, -1, -1, -1, 6, 7], [3, 2])
const SPARSE = int64(
  [5, -1, 7],
  [3, 9],
  [
    [0, 1, 2, 3],
    [8, 0, 4],
  ],
)

describe('targets of a prompt', () => {
  it.each([
    ['dense', DENSE, [0, 1, 1, 3], [5, 6, 7], [-0.5, 0, 0, 0, -1, -2]],
    ['sparse', SPARSE, [0, 1, 1, 2], [5, 7], [-0.5, 0, -1]],
  ])('are asked by position and answered in the layout of the question: %s', (_, tensor, starts, ids, answer) => {
    const call = targetsOfJson(tensor, 4)
    const asked = askedTargets(call)
    expect([[...asked.starts], [...asked.ids]]).toEqual([starts, ids])
    const promptTargets = laidOut(call, Float32Array.of(-0.5, -1, -2).subarray(0, ids.length))
    expect([...promptTargets.logprobs]).toEqual(answer)
    const { data, dtype, ...layout } = tensor
    const reply: SampleReply = { sequences: [], promptTargets, promptCacheHitTokens: 0 }
    const bytes = encodeSampleReply(reply)
    expect(decodeSampleReply(bytes)).toEqual(reply)
    expect(replyJson('sample', bytes).target_prompt_logprobs).toEqual({ data: answer, dtype: 'float32', ...layout })
  })

  it.each<[string, Tensor, RegExp]>([
    ['floats', { ...DENSE, dtype: 'float32' }, /a tensor of dtype float32 .* int64/],
    ['no shape', int64([5, 6, 7], null), /of shape \[\] .* \[3, K\]/],
    ['a row too many', int64([5, 6, 7, 8], [4, 1]), /of shape \[4,1\] .* \[3, K\]/],
    ['three dimensions', int64([5, 6, 7], [3, 1, 1]), /of shape \[3,1,1\]/],
    ['no columns', int64([], [3, 0]), /of shape \[3,0\]/],
    ['a missing cell', int64([5, 6, 7, 8, 9], [3, 2]), /of 5 cells .* 6 cells/],
    ['a fraction', int64([5, 6.5, 7], [3, 1]), /the id 6.5/],
    ['less than -1', int64([5, -2, 7], [3, 1]), /the id -2/],
    ['what no int32 holds', int64([5, 2 ** 31, 7], [3, 1]), /the id 2147483648/],
    ['nothing asked', int64([-1, -1, -1], [3, 1]), /asks for no token/],
    ['a row start missing', int64([5], [3, 9], [[0, 0, 1], [0]]), /3 row starts .* 4 rising row starts, from 0 to 1/],
    [
      'falling row starts',
      int64(
        [5, 6],
        [3, 9],
        [
          [0, 2, 1, 2],
          [0, 1],
        ],
      ),
      /4 rising/,
    ],
    ['row starts beyond the cells', int64([5], [3, 9], [[0, 0, 0, 2], [0]]), /4 rising row starts, from 0 to 1/],
    ['a column outside', int64([5], [3, 9], [[0, 0, 0, 1], [9]]), /a column from 0 to 8/],
    ['columns missing', int64([5, 6], [3, 9], [[0, 1, 1, 2], [0]]), /with 1 columns/],
    ['columns alone', { ...int64([5], [3, 9]), sparse_col_indices: [1] }, /0 row starts/],
  ])('are refused with %s', (_, tensor, message) => {
    expect(() => targetsOfJson(tensor, 4)).toThrow(message)
  })
})

it('draws for the places of a prompt come back in both encodings', () => {
  const promptAltTokens = { k: 2, ids: Int32Array.of(5, 6, 7, 8), logprobs: Float32Array.of(-1, -2, -0.5, -4) }
  const reply: SampleReply = { sequences: [], promptAltTokens, promptCacheHitTokens: 0 }
  const bytes = encodeSampleReply(reply)
  expect(decodeSampleReply(bytes)).toEqual(reply)
  expect(replyJson('sample', bytes).prompt_alt_tokens).toEqual({
    tokens: { data: [5, 6, 7, 8], dtype: 'int64', shape: [2, 2] },
    logprobs: { data: [-1, -2, -0.5, -4], dtype: 'float32', shape: [2, 2] },
  })
})
