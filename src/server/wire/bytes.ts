// Tensors travel as raw little-endian bytes without a header. Here they become numbers and back.
// Bytes of a decoded message are views at any alignment, so reading always copies. The host is little-endian, as every
// platform that Node runs on in practice. Knows nothing of messages, shapes or names.

export const DTYPES = ['float32', 'int64', 'int32', 'bfloat16'] as const
export type WireDType = (typeof DTYPES)[number]

export const ELEMENT_BYTES: Readonly<Record<WireDType, number>> = { float32: 4, int64: 8, int32: 4, bfloat16: 2 }

/** Numbers in any container. */
export type Numbers = ArrayLike<number>

/** The elements; the length must be a multiple of the element's size. An int64 beyond 2^53 comes out rounded. */
export function readNumbers(bytes: Uint8Array, dtype: WireDType): Numbers {
  if (dtype === 'float32') return readFloat32(bytes)
  if (dtype === 'int32') return readInt32(bytes)
  return dtype === 'int64' ? readInt64(bytes) : readBfloat16(bytes)
}

export function readFloat32(bytes: Uint8Array): Float32Array {
  return new Float32Array(copy(bytes))
}

export function readInt32(bytes: Uint8Array): Int32Array {
  return new Int32Array(copy(bytes))
}

export function readInt64(bytes: Uint8Array): Float64Array {
  const words = new Uint32Array(copy(bytes))
  const high = new Int32Array(words.buffer)
  const values = new Float64Array(words.length / 2)
  for (let i = 0; i < values.length; i++) values[i] = high[2 * i + 1]! * 2 ** 32 + words[2 * i]!
  return values
}

/** A bfloat16 is the upper half of a float32. */
function readBfloat16(bytes: Uint8Array): Float32Array {
  const halves = new Uint16Array(copy(bytes))
  const words = new Uint32Array(halves.length)
  for (let i = 0; i < halves.length; i++) words[i] = halves[i]! << 16
  return new Float32Array(words.buffer)
}

/** The bytes of a typed array, as a view. */
export function rawBytes(values: Float32Array | Int32Array): Uint8Array {
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength)
}

/** Integers within 2^53, as int64. */
export function int64Bytes(values: Numbers): Uint8Array {
  const words = new Int32Array(2 * values.length)
  for (let i = 0; i < values.length; i++) {
    words[2 * i] = values[i]! | 0
    words[2 * i + 1] = Math.floor(values[i]! / 2 ** 32)
  }
  return rawBytes(words)
}

const copy = (bytes: Uint8Array): ArrayBuffer => new Uint8Array(bytes).buffer
