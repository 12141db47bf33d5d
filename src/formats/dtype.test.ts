import { describe, expect, it } from 'vitest'
import { type FloatDType, fromFloat32, toFloat32 } from './dtype.ts'

const through = (dtype: FloatDType, ...values: number[]) => {
  const written = fromFloat32(Float32Array.from(values), dtype)
  return [...toFloat32(new Uint8Array(written.buffer.slice(0)), dtype)]
}

describe('float32 in half precision', () => {
  it('every finite float16 and bfloat16 comes back as it was', () => {
    for (const dtype of ['F16', 'BF16'] as const) {
      const bits = Uint16Array.from({ length: 0x10000 }, (_, i) => i)
      const values = toFloat32(new Uint8Array(bits.buffer.slice(0)), dtype)
      const again = fromFloat32(values, dtype)
      const changed = bits.filter((b, i) => again[i] !== b && !Number.isNaN(values[i]))
      expect([...changed]).toEqual([])
    }
  })

  it('rounds to the nearest, ties to even', () => {
    // Steps above 1: 2^-10 in float16, 2^-7 in bfloat16.
    expect(through('F16', 1 + 2 ** -11, 1 + 3 * 2 ** -11, 1 + 2 ** -11 + 2 ** -20)).toEqual([
      1,
      1 + 2 ** -9,
      1 + 2 ** -10,
    ])
    expect(through('BF16', 1 + 2 ** -8, 1 + 3 * 2 ** -8, 1 + 2 ** -8 + 2 ** -20)).toEqual([1, 1 + 2 ** -6, 1 + 2 ** -7])
  })

  it('knows the ends of the range', () => {
    expect(through('F16', 65504, 65520, -65520, 1e-8, 2 ** -24, 1.5 * 2 ** -24, -0)).toEqual([
      65504,
      Infinity,
      -Infinity,
      0,
      2 ** -24,
      2 ** -23,
      -0,
    ])
    expect(through('BF16', 3.4e38, Infinity, Number.NaN)).toEqual([Infinity, Infinity, Number.NaN])
  })
})
