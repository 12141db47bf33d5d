import { once } from 'node:events'
import { PassThrough } from 'node:stream'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { encodeFrame, FRAME_LIMITS, FrameDecoder, FrameWriter, readFrames } from './frames.ts'

const bytesOf = (message: unknown) => Buffer.concat(encodeFrame(message))
const decode = (bytes: Uint8Array) => [...new FrameDecoder().push(bytes)]
const roundTrip = (message: unknown) => decode(bytesOf(message))[0]

/** A frame made by hand, as a worker in another language would. */
function frame(header: string, body: Uint8Array = new Uint8Array(0)): Buffer {
  const prelude = Buffer.alloc(12)
  prelude.writeUInt32LE(Buffer.byteLength(header), 0)
  prelude.writeBigUInt64LE(BigInt(body.length), 4)
  return Buffer.concat([prelude, Buffer.from(header), body])
}

describe('a frame', () => {
  it('has these bytes, for ever', () => {
    const bytes = bytesOf({ id: 7, x: Float32Array.of(1, -2.5), n: Int32Array.of(258), none: undefined, v: NaN })
    expect(bytes.toString('hex')).toBe(
      [
        '53000000', // u32: 83 bytes of header
        '1800000000000000', // u64: 24 bytes of body
        Buffer.from('{"id":7,"x":{"$t":["f32",[2],0]},"n":{"$t":["i32",[1],8]},"v":{"$t":["f64",[],16]}}').toString(
          'hex',
        ),
        '0000803f000020c0', // f32 1, -2.5
        '0201000000000000', // i32 258, padding
        '000000000000f87f', // f64 NaN
      ].join(''),
    )
  })

  it.each([
    ['f32', Float32Array.of(0, -0, NaN, Infinity, 1e-45)],
    ['f64', Float64Array.of(Math.PI, -0, 5e-324)],
    ['i32', Int32Array.of(-1, 2 ** 31 - 1)],
    ['i64', BigInt64Array.of(-1n, 2n ** 62n)],
    ['u8', Uint8Array.of(1, 2, 255)],
    ['empty', new Float32Array(0)],
  ])('brings %s tensors back bit for bit', (_, tensor) => {
    expect(roundTrip({ a: [tensor, 'text'], b: tensor })).toEqual({ a: [tensor, 'text'], b: tensor })
  })

  it('brings views of larger buffers back without the rest', () => {
    const view = Float32Array.of(1, 2, 3, 4).subarray(1, 3)
    expect(roundTrip(view)).toEqual(Float32Array.of(2, 3))
    expect(roundTrip({ bytes: Buffer.from('abc') })).toEqual({ bytes: Uint8Array.from(Buffer.from('abc')) })
  })

  it('carries numbers that JSON cannot write', () => {
    expect(roundTrip([NaN, Infinity, -Infinity, -0, 1e308])).toEqual([NaN, Infinity, -Infinity, -0, 1e308])
  })

  it('reads f16 and bf16 as the same numbers in float32', () => {
    const body = new Uint8Array(16)
    new Uint16Array(body.buffer).set([0x3c00, 0xc100, 0, 0, 0x3f80, 0xc020])
    const [message] = decode(frame('[{"$t":["f16",[2],0]},{"$t":["bf16",[1,2],8]}]', body))
    expect(message).toEqual([Float32Array.of(1, -2.5), Float32Array.of(1, -2.5)])
  })

  it('comes back whatever it holds and however the stream cuts it', () => {
    const leaf = fc.oneof(
      fc.double(),
      fc.string({ unit: 'grapheme' }),
      fc.constant(null),
      fc.boolean(),
      fc.float32Array(),
      fc.int32Array(),
    )
    const message = fc.array(
      fc.dictionary(
        fc.string().filter((k) => k !== '$t' && k !== '__proto__'),
        leaf,
      ),
      { maxLength: 4 },
    )
    fc.assert(
      fc.property(fc.array(message, { maxLength: 4 }), fc.integer({ min: 1, max: 50 }), (messages, size) => {
        const bytes = Buffer.concat(messages.map(bytesOf))
        const decoder = new FrameDecoder()
        const seen: unknown[] = []
        for (let at = 0; at < bytes.length; at += size) seen.push(...decoder.push(bytes.subarray(at, at + size)))
        decoder.end()
        expect(seen).toEqual(messages)
      }),
      { numRuns: 200 },
    )
  })
})

describe('what is refused', () => {
  it.each([
    ['a bigint', { n: 1n }, /bigint/],
    ['a function', { f: () => 1 }, /function/],
    ['an unknown typed array', { a: new Uint16Array(1) }, /Uint16Array/],
    ['a map', { a: new Map() }, /Map/],
    ['an error, whose message JSON would lose', { e: new RangeError('lost') }, /RangeError/],
    ['a field with the name of the mark', { $t: 1 }, /\$t/],
  ])('%s, when it is sent', (_, message, sentence) => {
    expect(() => encodeFrame(message)).toThrow(sentence)
  })

  const mark = (...parts: unknown[]) => frame(JSON.stringify({ x: { $t: parts } }), new Uint8Array(16))
  it.each([
    ['an unknown dtype', mark('f8', [1], 0), /"f8"; known are f32, f64, i32, i64, u8, f16, bf16/],
    ['a dtype named like a property of objects', mark('toString', [1], 0), /"toString"; known/],
    ['a negative shape', mark('f32', [-1], 0), /shape \[-1\]/],
    ['a shape whose product overflows', mark('f32', [2 ** 40, 2 ** 40], 0), /does not lie/],
    ['elements beyond the body', mark('f32', [3], 8), /f32\[3\] at 8 does not lie in its body of 16 bytes/],
    ['a crooked offset', mark('f32', [1], 4), /does not lie/],
    ['a mark of another form', frame('{"x":{"$t":5}}'), /a tensor is/],
    ['a header that is not JSON', frame('{"x":'), /not JSON/],
    [
      'a header that is not UTF-8',
      Buffer.concat([Buffer.from('020000000000000000000000', 'hex'), Buffer.of(0xff, 0xfe)]),
      /UTF-8/,
    ],
    [
      'a header over the limit',
      Buffer.from(`01000004${'00'.repeat(8)}`, 'hex'),
      /header has 67108865 bytes, the limit is 67108864/,
    ],
    ['a body over the limit', Buffer.from(`00000000${'ff'.repeat(8)}`, 'hex'), /body has .* the limit is 8589934592/],
  ])('%s, when it is read', (_, bytes, sentence) => {
    expect(() => decode(bytes)).toThrow(sentence)
    expect(() => decode(bytes)).toThrow(expect.objectContaining({ category: 'server', code: 'PROTOCOL' }))
  })

  it('messages over the limits, when they are sent', () => {
    const limits = { header: 100, body: 64 }
    expect(() => encodeFrame('x'.repeat(200), limits)).toThrow(/header has 202 bytes, the limit is 100/)
    expect(() => encodeFrame(new Float32Array(17), limits)).toThrow(/body has 72 bytes, the limit is 64/)
  })

  it('a stream that ends inside a frame', () => {
    for (const length of [1, 12, 30]) {
      const decoder = new FrameDecoder()
      expect([...decoder.push(bytesOf({ a: new Float32Array(8) }).subarray(0, length))]).toEqual([])
      expect(() => decoder.end()).toThrow(/ended inside a frame/)
    }
  })
})

describe('streams of frames', () => {
  it('keep the order of writes and end with the stream', async () => {
    const pipe = new PassThrough()
    const writer = new FrameWriter(pipe)
    const seen: unknown[] = []
    const reading = (async () => {
      for await (const message of readFrames(pipe)) seen.push(message)
    })()
    for (let i = 0; i < 10; i++) await writer.write({ i, data: new Float32Array(i * 10_000) })
    pipe.end()
    await reading
    expect(seen.map((m) => (m as { i: number }).i)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
  })

  it('make the writer wait while nobody reads', async () => {
    const pipe = new PassThrough({ highWaterMark: 1000 })
    let written = false
    const writing = new FrameWriter(pipe).write(new Float32Array(1000)).then(() => {
      written = true
    })
    await new Promise(setImmediate)
    expect(written).toBe(false)
    pipe.resume()
    await writing
  })

  it('let a waiting writer go when the stream is destroyed', async () => {
    const pipe = new PassThrough({ highWaterMark: 1000 })
    const writing = new FrameWriter(pipe).write(new Float32Array(1000))
    pipe.destroy()
    await once(pipe, 'close')
    await writing
  })

  it('copy a large frame that arrives in small pieces once, not once a piece', () => {
    const bytes = bytesOf(new Uint8Array(64 * 2 ** 20))
    const decoder = new FrameDecoder()
    const start = process.hrtime.bigint()
    let count = 0
    for (let at = 0; at < bytes.length; at += 16_384)
      for (const _ of decoder.push(bytes.subarray(at, at + 16_384))) count++
    expect(count).toBe(1)
    // 4096 pieces of a 64 MiB frame: copying all that came before for each would move 128 GiB.
    expect(Number(process.hrtime.bigint() - start) / 1e9).toBeLessThan(3)
  })

  it('have the limits that are documented', () => {
    expect(FRAME_LIMITS).toEqual({ header: 67_108_864, body: 8_589_934_592 })
  })
})
