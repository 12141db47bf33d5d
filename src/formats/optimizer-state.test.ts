import * as path from 'node:path'
import { describe, expect, it } from 'vitest'
import { type OptimizerState, readOptimizerState, writeOptimizerState } from './optimizer-state.ts'
import { writeSafetensors } from './safetensors.ts'
import { temporaryFolder } from './testing/temporary-folder.ts'

const SHAPES = new Map([
  ['a', [2, 3]],
  ['b', [4]],
])

function state(change: Partial<Record<'m' | 'v', number>> = {}): OptimizerState {
  const moments = [...SHAPES].map(([name, shape]) => {
    const length = shape.reduce((x, y) => x * y, 1)
    return [
      name,
      { shape, m: new Float32Array(length).fill(change.m ?? -0.5), v: new Float32Array(length).fill(change.v ?? 2) },
    ] as const
  })
  return { step: 7, moments: new Map(moments) }
}

function written(what: OptimizerState): string {
  const file = path.join(temporaryFolder(), 'optimizer.safetensors')
  writeOptimizerState(file, what)
  return file
}

describe('optimizer state', () => {
  it('is read back as it was written', () => expect(readOptimizerState(written(state()), SHAPES)).toEqual(state()))

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
    ['a step that is no count', () => written({ ...state(), step: 1.5 }), SHAPES, /step is 1.5, not a count/],
    [
      'a file of something else',
      () => other(),
      SHAPES,
      /optimizer state "undefined version undefined" is not supported; supported: adamw version 1/,
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
