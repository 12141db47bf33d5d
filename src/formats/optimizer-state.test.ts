import * as path from 'node:path'
import { describe, expect, it } from 'vitest'
import { type OptimizerState, readOptimizerState, writeOptimizerState } from './optimizer-state.ts'
import { type TensorData, writeSafetensors } from './safetensors.ts'
import { temporaryFolder } from './testing/temporary-folder.ts'

const SHAPES = new Map([
  ['a', [2, 3]],
  ['b', [4]],
])

const filled = (value: number) =>
  new Map(
    [...SHAPES].map(([name, shape]) => {
      const length = shape.reduce((x, y) => x * y, 1)
      return [name, { shape, data: new Float32Array(length).fill(value) }] as const
    }),
  )

function state(change: Partial<Record<'m' | 'v', number>> = {}): OptimizerState {
  const slots = new Map([
    ['m', filled(change.m ?? -0.5)],
    ['v', filled(change.v ?? 2)],
  ])
  return { rule: 'adamw', step: 7, slots }
}
const SGD: OptimizerState = { rule: 'sgd', step: 3, slots: new Map([['momentum', filled(-1)]]) }

function written(what: OptimizerState): string {
  const file = path.join(temporaryFolder(), 'optimizer.safetensors')
  writeOptimizerState(file, what)
  return file
}

describe('optimizer state', () => {
  it.each([
    ['adamw', state()],
    ['adam', { ...state(), rule: 'adam' }],
    ['sgd', SGD],
    ['sgd without momentum', { ...SGD, slots: new Map() }],
  ])('of %s is read back as it was written', (_, what) => {
    expect(readOptimizerState(written(what), SHAPES)).toEqual(what)
  })

  it('of the first release is read as AdamW', () => {
    const file = path.join(temporaryFolder(), 'optimizer.safetensors')
    const tensors = new Map<string, TensorData>()
    for (const [name, shape] of SHAPES) {
      const data = new Float32Array(shape.reduce((x, y) => x * y, 1)).fill(1)
      tensors.set(`m/${name}`, { shape, data }).set(`v/${name}`, { shape, data })
    }
    writeSafetensors(file, tensors, { optimizer: 'adamw', version: '1', step: '4' })
    expect(readOptimizerState(file, SHAPES)).toEqual({
      rule: 'adamw',
      step: 4,
      slots: new Map([
        ['m', filled(1)],
        ['v', filled(1)],
      ]),
    })
  })

  it.each([
    [
      'state of another adapter',
      () => written(state()),
      new Map([
        ['a', [3, 2]],
        ['b', [4]],
      ]),
      /tensor "m\/a" has shape \[2, 3\], the adapter \[3, 2\]/,
    ],
    ['a tensor without state', () => written(state()), new Map([...SHAPES, ['c', [1]]]), /lacks tensor "m\/c"/],
    [
      'state of too many tensors',
      () => written(state()),
      new Map([['a', [2, 3]]]),
      /tensors that the adapter does not have/,
    ],
    ['NaN', () => written(state({ m: Number.NaN })), SHAPES, /tensor "m\/a" holds NaN/],
    ['a negative second moment', () => written(state({ v: -1 })), SHAPES, /tensor "v\/a" holds negative numbers/],
    ['moments of SGD', () => written({ ...state(), rule: 'sgd' }), SHAPES, /lacks tensor "momentum\/a"/],
    ['AdamW without moments', () => written({ ...SGD, rule: 'adamw' }), SHAPES, /lacks tensor "m\/a"/],
    ['a rule that is not known', () => written({ ...SGD, rule: 'lion' }), SHAPES, /"lion version 1" is not supported/],
    ['a rule named as a method', () => written({ ...SGD, rule: 'toString' }), SHAPES, /"toString version 1" is not/],
    ['a step that is no count', () => written({ ...state(), step: 1.5 }), SHAPES, /step is 1.5, not a count/],
    [
      'a file of something else',
      () => other(),
      SHAPES,
      /optimizer state "undefined version undefined" is not supported; supported: adamw version 1, adam version 1, sgd version 1/,
    ],
  ] as const)('refuses %s', (_, make, shapes, message) => {
    const file = make()
    expect(() => readOptimizerState(file, shapes)).toThrow(message)
  })
})

function other(): string {
  const file = path.join(temporaryFolder(), 'weights.safetensors')
  writeSafetensors(file, new Map([['m/a', { shape: [1], data: Float32Array.of(1) }]]))
  return file
}
