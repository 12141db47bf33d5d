import * as fs from 'node:fs'
import * as path from 'node:path'
import { describe, expect, it } from 'vitest'
import { openSafetensors, readSafetensorsHeader, readTensorFloat64, writeSafetensors } from './safetensors.ts'
import { temporaryFolder } from './testing/temporary-folder.ts'

const file = () => path.join(temporaryFolder(), 'weights.safetensors')

/** A file with the given header and as many data bytes, as a stranger might have made it. */
function forge(header: unknown, dataBytes: number, headerLength?: number): string {
  const json = new TextEncoder().encode(typeof header === 'string' ? header : JSON.stringify(header))
  const bytes = new Uint8Array(8 + json.length + dataBytes)
  new DataView(bytes.buffer).setBigUint64(0, BigInt(headerLength ?? json.length), true)
  bytes.set(json, 8)
  const name = file()
  fs.writeFileSync(name, bytes)
  return name
}

describe('writing and reading back', () => {
  it('keeps every type, shape and the metadata', () => {
    const name = file()
    writeSafetensors(
      name,
      new Map([
        ['half', { shape: [3], data: Uint16Array.of(0x3c00, 0xc000, 0x0001), dtype: 'F16' }],
        ['brain', { shape: [2], data: Uint16Array.of(0x3f80, 0xc040), dtype: 'BF16' }],
        ['single', { shape: [2, 2], data: Float32Array.of(1, -2, 3.5, 1e-30) }],
        ['double', { shape: [1], data: Float64Array.of(Math.PI) }],
        ['int', { shape: [], data: Int32Array.of(-7) }],
        ['long', { shape: [2], data: BigInt64Array.of(1n << 40n, -1n) }],
        ['empty', { shape: [0, 5], data: new Float32Array(0) }],
      ]),
      { step: '12', format: 'pt' },
    )
    const tensors = openSafetensors(name)
    const read = (tensor: string) => [...(tensors.get(tensor)?.read() ?? [])]
    expect(read('half')).toEqual([1, -2, 2 ** -24])
    expect(read('brain')).toEqual([1, -3])
    expect(read('single')).toEqual([...Float32Array.of(1, -2, 3.5, 1e-30)])
    expect(read('int')).toEqual([-7])
    expect(read('long')).toEqual([2 ** 40, -1])
    expect(read('empty')).toEqual([])
    expect(tensors.get('single')?.shape).toEqual([2, 2])
    const header = readSafetensorsHeader(name)
    expect(Object.fromEntries(header.metadata)).toEqual({ step: '12', format: 'pt' })
    expect([...readTensorFloat64(name, header.entries.get('double')!)]).toEqual([Math.PI])
  })

  it('reads infinities and NaN of both half types', () => {
    const name = file()
    writeSafetensors(
      name,
      new Map([
        ['half', { shape: [3], data: Uint16Array.of(0x7c00, 0xfc00, 0x7e00), dtype: 'F16' }],
        ['brain', { shape: [3], data: Uint16Array.of(0x7f80, 0xff80, 0x7fc0), dtype: 'BF16' }],
      ]),
    )
    for (const tensor of openSafetensors(name).values()) expect([...tensor.read()]).toEqual([Infinity, -Infinity, NaN])
  })

  it('gives the same bytes whatever order the tensors come in, each tensor aligned for use in place', () => {
    const a = { shape: [3], data: Float32Array.of(1, 2, 3) }
    const b = { shape: [1], data: Float64Array.of(4) }
    const [first, second] = [file(), file()]
    writeSafetensors(
      first,
      new Map<string, typeof a | typeof b>([
        ['a', a],
        ['b', b],
      ]),
      { y: '1', x: '2' },
    )
    writeSafetensors(
      second,
      new Map<string, typeof a | typeof b>([
        ['b', b],
        ['a', a],
      ]),
      { x: '2', y: '1' },
    )
    expect(fs.readFileSync(first).equals(fs.readFileSync(second))).toBe(true)
    for (const entry of readSafetensorsHeader(first).entries.values()) expect(entry.offset % 8).toBe(0)
  })

  it('says where float32 numbers lie, so that they can be mapped', () => {
    const name = file()
    writeSafetensors(name, new Map([['w', { shape: [2], data: Float32Array.of(5, 6) }]]))
    const location = openSafetensors(name).get('w')?.location
    const bytes = fs.readFileSync(name).subarray(location?.offset, (location?.offset ?? 0) + (location?.length ?? 0))
    expect([...new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + 8))]).toEqual([5, 6])
  })

  it('leaves neither a file nor a temporary one behind when the tensors are inconsistent', () => {
    const name = file()
    const wrong = new Map([['w', { shape: [3], data: Float32Array.of(1, 2) }]])
    expect(() => writeSafetensors(name, wrong)).toThrow(/tensor "w" has 2 elements, its shape \[3\] wants 3/)
    expect(fs.readdirSync(path.dirname(name))).toEqual([])
  })
})

describe('hostile and damaged files are refused by file and tensor', () => {
  const f32 = (begin: number, end: number, shape = [1]) => ({ dtype: 'F32', shape, data_offsets: [begin, end] })
  const cases: [string, () => string, RegExp][] = [
    ['shorter than a header length', () => truncated(4), /is 4 bytes long/],
    ['header length beyond the file', () => forge({}, 0, 1000), /claims a header of 1000 bytes in a file of 10/],
    ['header length beyond all limits', () => forge({}, 0, 2 ** 52), /the limit is 100000000/],
    ['header that is not JSON', () => forge('{"a":', 0), /is not valid JSON/],
    ['header that is not an object', () => forge([1], 0), /is not a JSON object/],
    [
      'unknown dtype',
      () => forge({ w: { dtype: 'Q7', shape: [1], data_offsets: [0, 1] } }, 1),
      /tensor "w": dtype "Q7" is not supported; supported: BOOL/,
    ],
    ['negative size', () => forge({ w: f32(0, 4, [-1]) }, 4), /tensor "w": shape \[-1\]/],
    ['fractional offset', () => forge({ w: f32(0.5, 4.5) }, 5), /tensor "w": data_offsets/],
    [
      'bytes that do not match the shape',
      () => forge({ w: f32(0, 8, [3]) }, 8),
      /tensor "w" takes 8 bytes, but F32 \[3\] needs 12/,
    ],
    [
      'a shape whose product overflows',
      () => forge({ w: f32(0, 4, [2 ** 50, 2 ** 50]) }, 4),
      /tensor "w" takes 4 bytes/,
    ],
    [
      'end beyond the file',
      () => forge({ w: f32(0, 8, [2]) }, 4),
      /tensor "w" ends at byte .* is the download complete/,
    ],
    [
      'overlap',
      () => forge({ a: f32(0, 8, [2]), b: f32(4, 12, [2]) }, 12),
      /tensor "b" starts at byte .* but the one before ends/,
    ],
    ['a hole', () => forge({ a: f32(0, 4), b: f32(8, 12) }, 12), /tensor "b" starts at byte/],
    ['bytes left over', () => forge({ a: f32(0, 4) }, 9), /has 5 bytes after the last tensor/],
    ['metadata that is no map of strings', () => forge({ __metadata__: { a: 1 } }, 0), /__metadata__/],
    ['a tensor that is no object', () => forge({ w: null }, 0), /tensor "w"/],
  ]
  it.each(cases)('%s', (_, make, message) => {
    const name = make()
    expect(() => readSafetensorsHeader(name)).toThrow(message)
    expect(() => readSafetensorsHeader(name)).toThrow(name)
  })

  it('knows a type it cannot compute with, and says so only when it is read', () => {
    const tensors = openSafetensors(forge({ mask: { dtype: 'BOOL', shape: [2], data_offsets: [0, 2] } }, 2))
    expect(() => tensors.get('mask')?.read()).toThrow(/tensor "mask": dtype BOOL is not supported; supported: F32, F16/)
  })

  it('a tensor named like a property of every object is an ordinary tensor', () => {
    const name = forge('{"__proto__":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}', 4)
    expect([...readSafetensorsHeader(name).entries.keys()]).toEqual(['__proto__'])
  })

  function truncated(bytes: number): string {
    const name = file()
    fs.writeFileSync(name, new Uint8Array(bytes))
    return name
  }
})
