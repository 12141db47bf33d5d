import { describe, expect, it } from 'vitest'
import { resolveCatalogueLoss } from './catalogue.ts'
import { type RowInputs, rowDatums } from './rows.ts'

const ROWS = [
  { input_ids: [5, 6, 7, 8], labels: [-100, 7, 8, -100] },
  { input_ids: [5, 9, 3], labels: [9, 3, -100] },
]
const GRPO = resolveCatalogueLoss('GRPOLoss', { beta: 0.1 })
const datums = (inputs: RowInputs, spec = GRPO) => rowDatums(spec, ROWS, inputs)
const rowsOf = (key: 'logprobs' | 'ref_logps' | 'advantages', inputs: RowInputs) =>
  datums(inputs).map((datum) => datum[key] && [...datum[key]])

it('labels become targets and a mask', () => {
  const [datum] = datums({})
  expect([...(datum?.targets ?? [])]).toEqual([0, 7, 8, 0])
  expect([...(datum?.mask ?? [])]).toEqual([0, 1, 1, 0])
  const other = resolveCatalogueLoss('CrossEntropyLoss', { ignore_index: 8 })
  expect([...(rowDatums(other, [{ input_ids: [1, 2], labels: [8, 2] }], {})[0]?.mask ?? [])]).toEqual([0, 1])
})

describe('numbers by row', () => {
  it('that are one stand for every position that counts', () => {
    expect(rowsOf('advantages', { advantages: [0.5, [-2]] })).toEqual([
      [0, 0.5, 0.5, 0],
      [-2, -2, 0],
    ])
  })
  it('that are one a completion token lie where labels count', () => {
    expect(
      rowsOf('logprobs', {
        old_logps: [
          [-1, -2],
          [-3, -4],
        ],
      }),
    ).toEqual([
      [0, -1, -2, 0],
      [-3, -4, 0],
    ])
  })
  it('that are one a position, padded or not, lie where they are', () => {
    const logps = [
      [-9, -1, -2, -9],
      [-3, -4, -9, -9],
    ]
    const wanted = [
      [0, -1, -2, 0],
      [-3, -4, 0],
    ]
    expect(rowsOf('ref_logps', { ref_logps: logps })).toEqual(wanted)
    expect(rowsOf('ref_logps', { ref_outputs: { logps, loss: 1 } })).toEqual(wanted)
  })
  it('that the loss does not read are not looked at', () => {
    const [datum] = datums({ old_logps: 'nothing', advantages: {} }, resolveCatalogueLoss('SimPOLoss'))
    expect(datum).not.toHaveProperty('logprobs')
  })
})

describe('the tokens of a teacher', () => {
  const GKD = resolveCatalogueLoss('GKDLoss')
  const two = (n: number) => Array.from({ length: n }, (_, i) => [i, i + 1])
  it('are the targets', () => {
    const inputs = { teacher_topk_indices: [two(4), two(4)], teacher_topk_logprobs: [two(4), two(3)] }
    const [first, second] = datums(inputs, GKD)
    expect(first).toMatchObject({ width: 2, mask: Float32Array.of(0, 1, 1, 0) })
    expect([...(first?.targets ?? [])]).toEqual([0, 1, 1, 2, 2, 3, 3, 4])
    expect(second?.teacher_topk_logprobs).toHaveLength(6)
  })
  it.each([
    [{ teacher_topk_indices: [two(4), two(3)] }, /teacher_topk_logprobs/],
    [{ teacher_topk_indices: [two(4), two(2)], teacher_topk_logprobs: [two(4), two(3)] }, /teacher_topk_indices\[1\]/],
    [
      { teacher_topk_indices: [two(4), [[1], [1, 2], [1, 2]]], teacher_topk_logprobs: [two(4), two(3)] },
      /indices\[1\]/,
    ],
    [
      { teacher_topk_indices: [[[0.5, 1], ...two(3)], two(3)], teacher_topk_logprobs: [two(4), two(3)] },
      /indices\[0\]/,
    ],
  ])('are refused when they do not fit: %#', (inputs, message) => {
    expect(() => datums(inputs, GKD)).toThrow(expect.objectContaining({ message: expect.stringMatching(message) }))
  })
})

it.each<[string, RowInputs, RegExp]>([
  ['too few rows', { advantages: [1] }, /advantages\. It must be a list with one entry for each of the 2 rows/],
  ['no list', { old_logps: 5 }, /old_logps/],
  [
    'a length that means nothing',
    {
      old_logps: [
        [-1, -2, -3],
        [-1, -2],
      ],
    },
    /old_logps\[0\].*2 \(one for each label/,
  ],
  ['text', { advantages: [1, ['a']] }, /advantages\[1\]/],
  ['what is not finite', { advantages: [1, Number.NaN] }, /advantages\[1\]/],
  [
    'null within a row',
    {
      ref_logps: [
        [-1, null],
        [-1, -1],
      ],
    },
    /ref_logps\[0\]/,
  ],
])('refuses %s by name', (_, inputs, message) => {
  expect(() => datums(inputs)).toThrow(
    expect.toSatisfy((e: { message: string; next: string; code: string }) => {
      return e.code === 'INVALID_ARGUMENT' && message.test(`${e.message} ${e.next}`)
    }),
  )
})

describe('rows to embed', () => {
  const INFONCE = resolveCatalogueLoss('InfonceLoss')
  it('have one label, which lies at their end', () => {
    const [anchor, positive] = rowDatums(
      INFONCE,
      [
        { input_ids: [5, 6, 7], labels: [1] },
        { input_ids: [8], labels: 0 },
      ],
      {},
    )
    expect(anchor).toMatchObject({ targets: Int32Array.of(0, 0, 1), mask: Float32Array.of(0, 0, 1), width: 1 })
    expect(positive).toMatchObject({ targets: Int32Array.of(0), mask: Float32Array.of(1) })
  })
  it.each([[[2]], [[1, 0]], [[]], ['1'], [undefined]])('cannot have the labels %j', (labels) => {
    expect(() => rowDatums(INFONCE, [{ input_ids: [5], labels }], {})).toThrow(/labels\[0\]/)
  })
})

it.each([
  [{ input_ids: 'abc', labels: [1] }, /input_ids\[0\]/],
  [{ input_ids: [1.5], labels: [1] }, /input_ids\[0\]/],
  [{ input_ids: [2 ** 40], labels: [1] }, /input_ids\[0\]/],
  [{ input_ids: [1, 2], labels: [1] }, /labels\[0\]/],
  [{ input_ids: [1], labels: [null] }, /labels\[0\]/],
])('refuses rows that are none: %j', (row, message) => {
  expect(() => rowDatums(GRPO, [row], {})).toThrow(message)
})
