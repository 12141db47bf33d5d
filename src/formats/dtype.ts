/**
 * Element types of tensors on disk and their conversion to floats for computing.
 * Knows bytes and numbers; knows neither files nor shapes. All formats here are little-endian, as are the
 * machines Node runs on that onnxruntime supports, so typed arrays are used as they are.
 */

/** Bytes an element of every type that the safetensors format defines; a header may name any of them. */
export const DTYPE_BYTES = {
  BOOL: 1,
  U8: 1,
  I8: 1,
  F8_E5M2: 1,
  F8_E4M3: 1,
  I16: 2,
  U16: 2,
  F16: 2,
  BF16: 2,
  I32: 4,
  U32: 4,
  F32: 4,
  I64: 8,
  U64: 8,
  F64: 8,
} as const

export type DType = keyof typeof DTYPE_BYTES

/** The types that can be read as numbers. */
export const READABLE_DTYPES = ['F32', 'F16', 'BF16', 'F64', 'I64', 'I32'] as const
export type ReadableDType = (typeof READABLE_DTYPES)[number]

export function isDType(name: unknown): name is DType {
  return typeof name === 'string' && Object.hasOwn(DTYPE_BYTES, name)
}

export function isReadable(dtype: DType): dtype is ReadableDType {
  return (READABLE_DTYPES as readonly string[]).includes(dtype)
}

type FloatArray = Float32Array | Float64Array

/** F64, I64 and large I32 values are rounded to the nearest float32. */
export function toFloat32(bytes: Uint8Array, dtype: ReadableDType): Float32Array {
  const aligned = alignedCopy(bytes, DTYPE_BYTES[dtype])
  if (dtype === 'F32') return new Float32Array(aligned)
  return widen(aligned, dtype, new Float32Array(aligned.byteLength / DTYPE_BYTES[dtype]))
}

/** Exact for every type but I64 beyond 2^53. */
export function toFloat64(bytes: Uint8Array, dtype: ReadableDType): Float64Array {
  const aligned = alignedCopy(bytes, DTYPE_BYTES[dtype])
  if (dtype === 'F64') return new Float64Array(aligned)
  return widen(aligned, dtype, new Float64Array(aligned.byteLength / DTYPE_BYTES[dtype]))
}

function widen<T extends FloatArray>(buffer: ArrayBuffer, dtype: ReadableDType, out: T): T {
  switch (dtype) {
    case 'F16':
      return widenHalf(new Uint16Array(buffer), out)
    case 'BF16':
      return widenBrainFloat(new Uint16Array(buffer), out)
    case 'I64': {
      const source = new BigInt64Array(buffer)
      for (let i = 0; i < out.length; i++) out[i] = Number(source[i]!)
      return out
    }
    case 'F32':
      out.set(new Float32Array(buffer))
      return out
    case 'F64':
      out.set(new Float64Array(buffer))
      return out
    case 'I32':
      out.set(new Int32Array(buffer))
      return out
  }
}

/** A bfloat16 is the upper half of a float32. */
function widenBrainFloat<T extends FloatArray>(source: Uint16Array, out: T): T {
  if (out instanceof Float32Array) {
    const bits = new Uint32Array(out.buffer, out.byteOffset, out.length)
    for (let i = 0; i < bits.length; i++) bits[i] = source[i]! << 16
    return out
  }
  out.set(widenBrainFloat(source, new Float32Array(source.length)))
  return out
}

function widenHalf<T extends FloatArray>(source: Uint16Array, out: T): T {
  const table = halfTable()
  for (let i = 0; i < out.length; i++) out[i] = table[source[i]!]!
  return out
}

let halves: Float32Array | undefined

/** All 65 536 float16 values: a look-up beats bit arithmetic by far and costs 256 KiB once. */
export function halfTable(): Float32Array {
  halves ??= Float32Array.from({ length: 0x10000 }, (_, bits) => halfToNumber(bits))
  return halves
}

/** IEEE 754 binary16: 1 sign, 5 exponent (bias 15), 10 fraction bits. */
function halfToNumber(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1
  const exponent = (bits >> 10) & 0x1f
  const fraction = bits & 0x3ff
  if (exponent === 0) return sign * fraction * 2 ** -24
  if (exponent === 31) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15)
}

/** The float types that are written. */
export type FloatDType = 'F32' | 'F16' | 'BF16'

/**
 * Values in another float type, rounded to the nearest, ties to even. What is beyond the type's range becomes infinite, as
 * IEEE 754 has it.
 */
export function fromFloat32(values: Float32Array, dtype: FloatDType): Float32Array | Uint16Array {
  if (dtype === 'F32') return values
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length)
  const round = dtype === 'BF16' ? brainFloatBits : halfBits
  return Uint16Array.from(bits, round)
}

function brainFloatBits(bits: number): number {
  const isNan = (bits & 0x7fffffff) > 0x7f800000
  if (isNan) return (bits >>> 16) | 0x40
  return (bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16
}

function halfBits(bits: number): number {
  const sign = (bits >>> 16) & 0x8000
  const fraction = bits & 0x7fffff
  const exponent = ((bits >>> 23) & 0xff) - 112
  if (exponent === 143) return sign | 0x7c00 | (fraction ? 0x200 : 0)
  if (exponent >= 31) return sign | 0x7c00
  if (exponent < -10) return sign
  // Numbers below the smallest normal one have no hidden bit: it is shifted into the fraction.
  if (exponent <= 0) return sign | roundedShift(fraction | 0x800000, 14 - exponent)
  return sign | roundedShift((exponent << 23) | fraction, 13)
}

/** A carry out of the fraction raises the exponent, up to infinity: the bits are laid out for it. */
function roundedShift(value: number, shift: number): number {
  const kept = value >>> shift
  const rest = value & ((1 << shift) - 1)
  const half = 1 << (shift - 1)
  return rest > half || (rest === half && (kept & 1) === 1) ? kept + 1 : kept
}

/** The bytes' own buffer where it is exactly that and aligned, else a copy. The caller owns `bytes`. */
function alignedCopy(bytes: Uint8Array, alignment: number): ArrayBuffer {
  const whole = bytes.byteOffset === 0 && bytes.byteLength === bytes.buffer.byteLength
  if (whole && bytes.buffer instanceof ArrayBuffer && bytes.byteLength % alignment === 0) return bytes.buffer
  return bytes.slice().buffer as ArrayBuffer
}
