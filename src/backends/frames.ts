// The bytes between a server and its engines, over any duplex stream. One frame is one message:
//   u32 header bytes | u64 body bytes | JSON header | body        (little endian)
// A tensor in the header is {"$t": [dtype, shape, offset]}; its elements lie raw in the body, at a multiple of 8. Numbers
// that JSON cannot write (NaN, infinities, -0) are tensors of shape []. Knows bytes; knows nothing of what messages mean.

import type { Readable, Writable } from 'node:stream'
import { toFloat32 } from '../formats/dtype.ts'
import { EngineError } from './backend.ts'
import { engineError } from './engine-errors.ts'

/** Frames beyond these sizes are refused on both sides, in bytes. */
export const FRAME_LIMITS = { header: 64 * 2 ** 20, body: 8 * 2 ** 30 }
export type FrameLimits = typeof FRAME_LIMITS

const PRELUDE = 12
const ALIGNMENT = 8
/** Frames up to this size are copied into one piece, larger ones are sent from where their tensors lie. */
const ONE_PIECE = 64 * 1024

type Elements = Float32Array | Float64Array | Int32Array | BigInt64Array | Uint8Array

interface DType {
  readonly bytes: number
  view(body: ArrayBuffer, offset: number, length: number): Elements
}

/** f16 and bf16 come from other languages and are widened, which is exact; TypeScript sends the others. */
const DTYPES: Readonly<Record<string, DType>> = {
  f32: { bytes: 4, view: (...where) => new Float32Array(...where) },
  f64: { bytes: 8, view: (...where) => new Float64Array(...where) },
  i32: { bytes: 4, view: (...where) => new Int32Array(...where) },
  i64: { bytes: 8, view: (...where) => new BigInt64Array(...where) },
  u8: { bytes: 1, view: (...where) => new Uint8Array(...where) },
  f16: { bytes: 2, view: (body, offset, length) => toFloat32(new Uint8Array(body, offset, length * 2), 'F16') },
  bf16: { bytes: 2, view: (body, offset, length) => toFloat32(new Uint8Array(body, offset, length * 2), 'BF16') },
}

function dtypeOf(value: unknown): string | null {
  if (value instanceof Float32Array) return 'f32'
  if (value instanceof Float64Array) return 'f64'
  if (value instanceof Int32Array) return 'i32'
  if (value instanceof BigInt64Array) return 'i64'
  return value instanceof Uint8Array ? 'u8' : null
}

const protocolError = (sentence: string) => engineError('PROTOCOL', sentence)

/**
 * The pieces of one frame, to be written in order. Large tensors are not copied: they must not change until they are
 * written. `undefined` fields are left out, as in JSON. Throws a PROTOCOL error on what no frame can carry.
 */
export function encodeFrame(message: unknown, limits: FrameLimits = FRAME_LIMITS): Uint8Array[] {
  const body = new BodyWriter()
  // A function, since only `this` still has the value as it was before toJSON (which Buffer has).
  const header = Buffer.from(
    JSON.stringify(message, function (this: Record<string, unknown>, key) {
      return toJson(this[key], body)
    }),
  )
  if (header.length > limits.header) throw oversized('header', header.length, limits.header)
  if (body.length > limits.body) throw oversized('body', body.length, limits.body)
  const prelude = Buffer.alloc(PRELUDE)
  prelude.writeUInt32LE(header.length, 0)
  prelude.writeBigUInt64LE(BigInt(body.length), 4)
  const pieces = [prelude, header, ...body.pieces]
  return header.length + body.length <= ONE_PIECE ? [Buffer.concat(pieces)] : pieces
}

function toJson(value: unknown, body: BodyWriter): unknown {
  if (typeof value === 'number') {
    const plain = Number.isFinite(value) && !Object.is(value, -0)
    return plain ? value : { $t: ['f64', [], body.add(Float64Array.of(value))] }
  }
  if (typeof value === 'bigint' || typeof value === 'function' || typeof value === 'symbol') {
    throw protocolError(`a frame cannot carry a ${typeof value}`)
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value
  const dtype = dtypeOf(value)
  if (dtype) {
    const elements = value as Elements
    return { $t: [dtype, [elements.length], body.add(elements)] }
  }
  if (ArrayBuffer.isView(value) || value instanceof Map || value instanceof Set || value instanceof Error) {
    throw protocolError(`a frame cannot carry a ${value.constructor.name}`)
  }
  if (Object.hasOwn(value, '$t')) throw protocolError('"$t" marks tensors, no other field can have that name')
  // Marks made above are visited by JSON.stringify as plain arrays of strings and numbers.
  return value
}

class BodyWriter {
  readonly pieces: Uint8Array[] = []
  length = 0

  /** Appends the elements at an aligned offset, which it returns. */
  add({ buffer, byteOffset, byteLength }: Elements): number {
    const offset = this.length
    const padding = (ALIGNMENT - (byteLength % ALIGNMENT)) % ALIGNMENT
    this.pieces.push(new Uint8Array(buffer, byteOffset, byteLength))
    if (padding) this.pieces.push(new Uint8Array(padding))
    this.length += byteLength + padding
    return offset
  }
}

/** Turns a stream of bytes, cut anywhere, into messages. Each byte is copied once. */
export class FrameDecoder {
  readonly #limits: FrameLimits
  #prelude = new Filling(PRELUDE)
  #header: Filling | null = null
  #body: Filling | null = null

  constructor(limits: FrameLimits = FRAME_LIMITS) {
    this.#limits = limits
  }

  /** The messages that `chunk` completes. Tensors are views of their frame's body. Throws a PROTOCOL error. */
  *push(chunk: Uint8Array): Generator<unknown> {
    for (let rest = chunk; ; ) {
      rest = this.#prelude.take(rest)
      if (!this.#prelude.full) return
      if (!this.#header) this.#start()
      rest = this.#header!.take(rest)
      rest = this.#body!.take(rest)
      if (!this.#header!.full || !this.#body!.full) return
      yield this.#finish()
      if (!rest.length) return
    }
  }

  /** Call where the stream ends: throws when it ends inside a frame. */
  end(): void {
    if (this.#prelude.at) throw protocolError('the stream ended inside a frame')
  }

  #start(): void {
    const prelude = new DataView(this.#prelude.buffer)
    const header = prelude.getUint32(0, true)
    const body = Number(prelude.getBigUint64(4, true))
    if (header > this.#limits.header) throw oversized('header', header, this.#limits.header)
    if (body > this.#limits.body) throw oversized('body', body, this.#limits.body)
    this.#header = new Filling(header)
    this.#body = new Filling(body)
  }

  #finish(): unknown {
    const header = this.#header!.buffer
    const body = this.#body!.buffer
    this.#prelude = new Filling(PRELUDE)
    this.#header = null
    this.#body = null
    try {
      return JSON.parse(utf8.decode(header), (_, value) =>
        value !== null && Object.hasOwn(value, '$t') ? tensor(value.$t, body) : value,
      )
    } catch (error) {
      if (error instanceof EngineError) throw error
      throw protocolError(`a frame's header is not JSON in UTF-8: ${(error as Error).message}`)
    }
  }
}

const utf8 = new TextDecoder('utf-8', { fatal: true })

/** A buffer of known size that fills up. Memory that nothing was written to costs nothing: the system maps it lazily. */
class Filling {
  readonly buffer: ArrayBuffer
  at = 0

  constructor(size: number) {
    this.buffer = new ArrayBuffer(size)
  }
  get full(): boolean {
    return this.at === this.buffer.byteLength
  }
  /** Copies what fits and returns the rest. */
  take(bytes: Uint8Array): Uint8Array {
    const count = Math.min(bytes.length, this.buffer.byteLength - this.at)
    if (count) new Uint8Array(this.buffer, this.at, count).set(bytes.subarray(0, count))
    this.at += count
    return bytes.subarray(count)
  }
}

function tensor(mark: unknown, body: ArrayBuffer): Elements | number {
  if (!Array.isArray(mark) || mark.length !== 3) throw protocolError('a tensor is {"$t": [dtype, shape, offset]}')
  const [name, shape, offset] = mark
  const dtype = typeof name === 'string' && Object.hasOwn(DTYPES, name) ? DTYPES[name] : undefined
  if (!dtype) {
    throw protocolError(`a tensor has dtype ${JSON.stringify(name)}; known are ${Object.keys(DTYPES).join(', ')}`)
  }
  if (!Array.isArray(shape) || !shape.every(isSize)) throw protocolError(`a tensor has shape ${JSON.stringify(shape)}`)
  const length = shape.reduce((a, b) => a * b, 1)
  if (!isSize(offset) || offset % ALIGNMENT || offset + length * dtype.bytes > body.byteLength) {
    throw protocolError(`a tensor ${name}[${shape}] at ${offset} does not lie in its body of ${body.byteLength} bytes`)
  }
  const elements = dtype.view(body, offset, length)
  return shape.length === 0 ? Number(elements[0]) : elements
}

const isSize = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0

const oversized = (part: string, bytes: number, limit: number) =>
  protocolError(`a frame's ${part} has ${bytes} bytes, the limit is ${limit}`)

/** The messages of a stream, in order; ends with it. Reading stops while the consumer is busy (back-pressure). */
export async function* readFrames(stream: Readable, limits?: FrameLimits): AsyncGenerator<unknown> {
  const decoder = new FrameDecoder(limits)
  for await (const chunk of stream) yield* decoder.push(chunk)
  decoder.end()
}

/** Writes frames in the order of the calls. */
export class FrameWriter {
  readonly #stream: Writable
  readonly #limits: FrameLimits | undefined
  #room: Promise<void> | null = null

  constructor(stream: Writable, limits?: FrameLimits) {
    this.#stream = stream
    this.#limits = limits
  }

  /** Settles when the stream has room for more, or is gone. Throws at once, and writes nothing, what `encodeFrame` throws. */
  async write(message: unknown): Promise<void> {
    const pieces = encodeFrame(message, this.#limits)
    this.#stream.cork()
    for (const piece of pieces) this.#stream.write(piece)
    this.#stream.uncork()
    if (this.#stream.writableNeedDrain) await this.#untilRoom()
  }

  #untilRoom(): Promise<void> {
    this.#room ??= new Promise((resolve) => {
      const settle = () => {
        this.#stream.off('drain', settle).off('close', settle)
        this.#room = null
        resolve()
      }
      this.#stream.on('drain', settle).on('close', settle)
    })
    return this.#room
  }
}
