import { describe, expect, it } from 'vitest'
import { datumsOfText } from './datum-file.ts'

const tensor = (data: readonly (number | null)[], more: object = {}) => ({ data, dtype: 'float32', ...more })
const datum = (more: object = {}) => ({
  model_input: { chunks: [{ type: 'encoded_text', tokens: [1, 2] }, { tokens: [3] }] },
  loss_fn_inputs: { target_tokens: tensor([2, 3, 4], { dtype: 'int64', shape: [3] }), ...more },
})
const read = (value: unknown) => datumsOfText(typeof value === 'string' ? value : JSON.stringify(value), 'f.json')
const list = (values: ArrayLike<number> | undefined) => Array.from(values ?? [])
const refusal = (text: string) => {
  try {
    return String(read(text).datums.length)
  } catch (error) {
    return (error as Error).message
  }
}

describe('a file of datums', () => {
  it.each([
    ['one datum', datum()],
    ['a list', [datum()]],
    ['JSON lines', `${JSON.stringify(datum())}\n\n${JSON.stringify(datum())}\n`],
    ['what is sent', { forward_backward_input: { data: [datum()], loss_fn: 'ppo' }, model_id: 'm' }],
    ['what was sent of old', { forward_input: { data: [datum()], loss_fn: 'ppo' } }],
    ['its inside', { data: [datum()], loss_fn: 'ppo' }],
  ])('may be %s', (_, value) => {
    const { datums, loss } = read(value)
    expect(list(datums[0]?.tokens)).toEqual([1, 2, 3])
    expect(list(datums[0]?.inputs.target_tokens?.values)).toEqual([2, 3, 4])
    expect(loss === null || loss === 'ppo').toBe(true)
  })

  it('may have plain lists, matrices, sparse tensors, and lengths that differ', () => {
    const rows = {
      data: [7],
      dtype: 'int64',
      shape: [3, 2],
      sparse_crow_indices: [0, 0, 1, 1],
      sparse_col_indices: [1],
    }
    const { datums } = read({
      model_input: [1, 2, 3],
      loss_fn_inputs: {
        weights: [0, 1],
        pairs: [
          [1, 2],
          [3, 4],
        ],
        rows,
      },
    })
    expect(datums[0]).toMatchObject({ inputs: { weights: { width: 1 }, pairs: { width: 2 }, rows: { width: 2 } } })
    expect(list(datums[0]?.inputs.weights?.values)).toEqual([0, 1])
    expect(list(datums[0]?.inputs.rows?.values)).toEqual([0, 0, 0, 7, 0, 0])
  })

  it("may have Python's words for numbers that JSON lacks, and leaves text alone", () => {
    const text =
      '{"note": "NaN Infinity \\" NaN", "model_input": [1, 2, 3], "loss_fn_inputs": {"weights": [NaN, -Infinity, null]}}'
    expect(list(read(text).datums[0]?.inputs.weights?.values)).toEqual([
      Number.NaN,
      Number.NEGATIVE_INFINITY,
      Number.NaN,
    ])
  })

  it.each([
    ['', /is empty/],
    ['[]', /no datum/],
    ['{"messages": [1]}', /fields messages/],
    ['{"model_input": [1]}\n{oops', /line 2 that is no JSON/],
    ['{"model_input"', /is no JSON/],
    ['7', /no object/],
    ['{"model_input": {"chunks": [{"tokens": "abc"}]}}', /datum 0 with a chunk/],
    ['{"model_input": {"chunks": [{"type": "image", "data": "x"}]}}', /image/],
    ['{"model_input": [1], "loss_fn_inputs": {"weights": "x"}}', /weights is neither/],
    ['{"model_input": [1], "loss_fn_inputs": {"weights": [[1], [2, 3]]}}', /weights is neither/],
    ['{"model_input": [1], "loss_fn_inputs": {"weights": {"data": [1, 2], "shape": [3]}}}', /do not fill its shape/],
  ])('that is %s is refused', (text, message) => {
    expect(refusal(text)).toMatch(message)
  })
})
