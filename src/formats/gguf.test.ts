import * as fs from 'node:fs'
import { describe, expect, it } from 'vitest'
import { readGguf } from './gguf.ts'
import { type GgufTensorSpec, STRING, U32, writeGguf } from './testing/gguf-writer.ts'

/** float16 bits: 0.5, -2, 0.25 */
const HALF = Uint8Array.of(0x00, 0x38)
const MINUS_TWO = Uint8Array.of(0x00, 0xc0)

const tensor = (typeId: number, bytes: Uint8Array, shape: readonly number[] = [32]): GgufTensorSpec => ({
  name: 'w',
  shape,
  typeId,
  bytes,
})
const read = (spec: GgufTensorSpec) => [
  ...(readGguf(writeGguf([], [spec]))
    .tensors.get('w')
    ?.read() ?? []),
]
const joined = (...parts: Uint8Array[]) => new Uint8Array(Buffer.concat(parts))
/** Byte i holds i in the low half and 15 - i in the high half. */
const NIBBLES = Uint8Array.from({ length: 16 }, (_, i) => ((15 - i) << 4) | i)
const UP_AND_DOWN = [...Array.from({ length: 16 }, (_, i) => i), ...Array.from({ length: 16 }, (_, i) => 15 - i)]

describe('element types', () => {
  it('F32, F16 and BF16', () => {
    expect(read(tensor(0, new Uint8Array(Float32Array.of(1, -2.5).buffer), [2]))).toEqual([1, -2.5])
    expect(read(tensor(1, joined(HALF, MINUS_TWO), [2]))).toEqual([0.5, -2])
    expect(read(tensor(30, Uint8Array.of(0x80, 0x3f, 0x40, 0xc0), [2]))).toEqual([1, -3])
  })

  it('Q8_0 is a signed byte times the scale', () => {
    const bytes = Int8Array.from({ length: 32 }, (_, i) => i * 8 - 128)
    const values = read(tensor(8, joined(HALF, new Uint8Array(bytes.buffer))))
    expect(values).toEqual([...bytes].map((q) => q / 2))
  })

  it('Q4_0 is centred at 8, low halves before high halves', () => {
    expect(read(tensor(2, joined(HALF, NIBBLES)))).toEqual(UP_AND_DOWN.map((q) => (q - 8) / 2))
  })

  it('Q4_1 adds a minimum', () => {
    expect(read(tensor(3, joined(HALF, MINUS_TWO, NIBBLES)))).toEqual(UP_AND_DOWN.map((q) => q / 2 - 2))
  })

  it('keeps the order of blocks and gives row-major shapes', () => {
    const file = writeGguf(
      [],
      [tensor(8, joined(HALF, new Uint8Array(32).fill(2), HALF, new Uint8Array(32).fill(4)), [2, 32])],
    )
    const w = readGguf(file).tensors.get('w')
    expect(w?.shape).toEqual([2, 32])
    expect([...(w?.read() ?? [])]).toEqual([...new Array(32).fill(1), ...new Array(32).fill(2)])
  })

  it.each([
    [12, 'Q4_K'],
    [14, 'Q6_K'],
    [28, 'F64'],
    [77, 'number 77'],
  ])('type %i is refused as %s', (typeId, name) => {
    const file = writeGguf([], [tensor(typeId, new Uint8Array(512), [256])])
    const message = `tensor "w": type ${name} is not supported; supported: F32, F16, BF16, Q8_0, Q4_0, Q4_1`
    expect(() => readGguf(file)).toThrow(message)
  })
})

describe('damaged and hostile files', () => {
  const good = tensor(0, new Uint8Array(128))
  it.each([
    ['another file', () => writeGguf([], [], { magic: 'GGML' }), /is not a GGUF file/],
    [
      'a version of the future',
      () => writeGguf([], [], { version: 9 }),
      /GGUF version 9 is not supported; supported: 2, 3/,
    ],
    ['more tensors than it can hold', () => writeGguf([], [], { tensorCount: 1e12 }), /claims 1000000000000 tensors/],
    [
      'a torn end',
      () => torn(writeGguf([], [good]), 64),
      /tensor "w" F32 \[32\] ends at byte .* is the download complete/,
    ],
    ['a torn header', () => torn(writeGguf([['k', STRING, 'x'.repeat(500)]], []), 300), /its header wants 500 bytes/],
    ['the same tensor twice', () => writeGguf([], [good, good]), /lists tensor "w" twice/],
    [
      'rows that do not fill blocks',
      () => writeGguf([], [tensor(8, new Uint8Array(34), [2, 16])]),
      /rows of 16 do not fill Q8_0 blocks of 32/,
    ],
    ['a value type nobody knows', () => writeGguf([['k', 13, 1]], [good]), /"k" has the unknown value type 13/],
    [
      'too many dimensions',
      () => writeGguf([], [tensor(0, new Uint8Array(4), [1, 1, 1, 1, 1])]),
      /tensor "w" has 5 dimensions/,
    ],
    [
      'a shape whose product overflows',
      () => writeGguf([], [tensor(0, new Uint8Array(4), [2 ** 40, 2 ** 40])]),
      /tensor "w" F32/,
    ],
    ['an absurd alignment', () => writeGguf([['general.alignment', U32, 0]], [good]), /general.alignment is 0/],
  ])('%s', (_, make, message) => {
    const file = make()
    expect(() => readGguf(file)).toThrow(message)
    expect(() => readGguf(file)).toThrow(file)
  })
})

function torn(file: string, bytes: number): string {
  fs.truncateSync(file, fs.statSync(file).size - bytes)
  return file
}
