// Tensors between numbers and the bytes of the protobuf schema: raw, little-endian (as every machine that runs this is),
// row-major, without header. Checks shapes here, so that a wrong one is an error at once and not a round trip later.

import type { Schemas } from '../../generated/operations.ts'
import { tinker_public as pb } from '../../generated/tinker-proto.js'
import { TinkerError, UnexpectedAnswerError } from './errors.ts'
import type { ModelInput, ModelInputChunk } from './model-input.ts'
import { isSparse, type Numbers, type SparseTensor, type Tensor, type TensorOutput } from './tensors.ts'

const { DType } = pb

/** Types of plain numbers by the name of the loss input. */
const DTYPE_OF_INPUT: Readonly<Record<string, 'int64' | 'float32'>> = {
  target_tokens: 'int64',
  weights: 'float32',
  logprobs: 'float32',
  advantages: 'float32',
  clip_low_threshold: 'float32',
  clip_high_threshold: 'float32',
  sequence_ratio_mask: 'float32',
}

/** Throws TinkerError, naming `name`, for an unknown plain input or a shape that does not fit the data. */
export function encodeTensor(name: string, value: Numbers | Tensor): pb.Tensor.$Properties {
  const tensor = 'dtype' in value ? value : { data: value, dtype: dtypeOf(name) }
  const dtype = tensor.dtype === 'int64' ? DType.DTYPE_INT64 : DType.DTYPE_FLOAT32
  const data = encodeNumbers(name, tensor.data, tensor.dtype)
  if (isSparse(tensor)) return { sparse_csr: encodeSparse(name, tensor, data), dtype, shape: [...tensor.shape] }
  const shape = [...(tensor.shape ?? [tensor.data.length])]
  const size = shape.reduce((product, extent) => product * extent, 1)
  if (size !== tensor.data.length) {
    throw new TinkerError(
      `${name} has ${tensor.data.length} numbers, but its shape [${shape.join(', ')}] needs ${size}.`,
    )
  }
  return { dense: data, dtype, shape }
}

function dtypeOf(name: string): 'int64' | 'float32' {
  const dtype = DTYPE_OF_INPUT[name]
  if (dtype !== undefined) return dtype
  const known = Object.keys(DTYPE_OF_INPUT).join(', ')
  throw new TinkerError(`The loss input ${name} needs a dtype: {data, dtype}. Plain numbers are known for ${known}.`)
}

function encodeSparse(name: string, tensor: SparseTensor, values: Uint8Array): pb.SparseCsr.$Properties {
  const { shape, crowIndices, colIndices, data } = tensor
  if (crowIndices.length !== shape[0] + 1 || colIndices.length !== data.length || crowIndices.at(-1) !== data.length) {
    throw new TinkerError(
      `${name} is no valid sparse tensor: it needs rows + 1 row offsets, and a column for each value.`,
    )
  }
  return {
    values,
    crow_indices: encodeNumbers(name, crowIndices, 'int64'),
    col_indices: encodeNumbers(name, colIndices, 'int64'),
  }
}

function encodeNumbers(name: string, data: Numbers, dtype: 'int64' | 'float32'): Uint8Array {
  if (dtype === 'float32') return asBytes(Float32Array.from(data))
  const bad = data.findIndex((value) => !Number.isSafeInteger(value))
  if (bad >= 0) throw new TinkerError(`${name}[${bad}] is ${data[bad]}; whole numbers are needed.`)
  return asBytes(BigInt64Array.from(data as readonly number[], BigInt))
}

/** Throws TinkerError for a chunk that training does not take. */
export function encodeModelInput(input: ModelInput): pb.Chunk.$Properties[] {
  return input.chunks.map(encodeChunk)
}

function encodeChunk(chunk: ModelInputChunk): pb.Chunk.$Properties {
  switch (chunk.type) {
    case 'encoded_text':
      return { encoded_text: { tokens: asBytes(chunk.tokens) } }
    case 'image': {
      const { data, format, expectedTokens } = chunk
      return { image: { data, format, ...(expectedTokens === undefined ? {} : { expected_tokens: expectedTokens }) } }
    }
    case 'dmel':
      return { dmel: { dmel: chunk.dmel } }
    case 'image_asset_pointer':
      throw new TinkerError('Training takes no image_asset_pointer: give the bytes of the image as an image chunk.')
  }
}

/** A tensor in the JSON of a request. Throws TinkerError as `encodeTensor` does. */
export function tensorJson(name: string, tensor: Tensor): Schemas['TensorData'] {
  encodeTensor(name, tensor)
  const { dtype, data } = tensor
  const dense = { data: Array.from(data), dtype, shape: [...(tensor.shape ?? [data.length])] }
  if (!isSparse(tensor)) return dense
  return {
    ...dense,
    sparse_crow_indices: [...tensor.crowIndices],
    sparse_col_indices: [...tensor.colIndices],
  }
}

function asBytes(array: ArrayBufferView): Uint8Array {
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength)
}

// Fields of a decoded message are views at any offset; a typed array wants its own alignment, so they are copied.

export function decodeInt32(bytes: Uint8Array): Int32Array {
  return new Int32Array(bytes.slice().buffer)
}

export function decodeFloat32(bytes: Uint8Array): Float32Array {
  return new Float32Array(bytes.slice().buffer)
}

/** What does not decode is no answer of this protocol, or one that was cut on its way. */
export function decodeMessage<T>(name: string, decode: () => T): T {
  try {
    return decode()
  } catch (cause) {
    if (cause instanceof TinkerError) throw cause
    throw new UnexpectedAnswerError(
      `The server's answer is no ${name} of tinker_public.proto: ${(cause as Error).message}. Next: ask again; if it stays, a proxy changes answers, or the server speaks another protocol.`,
      { cause },
    )
  }
}

/** One tensor of an answer. Throws RangeError, as the others here do, for bytes that are none. */
export function decodeTensor({ dense, sparse_csr: sparse, dtype, shape }: pb.Tensor.$Properties): TensorOutput {
  const extents = (shape ?? []).map(Number)
  if (!sparse) return { data: decodeNumbers((dense ?? new Uint8Array(0)).slice(), dtype), shape: extents }
  const indices = (bytes: Uint8Array | null | undefined) =>
    Array.from(new BigInt64Array((bytes ?? new Uint8Array(0)).slice().buffer), Number)
  return {
    data: decodeNumbers((sparse.values ?? new Uint8Array(0)).slice(), dtype),
    shape: extents,
    crowIndices: indices(sparse.crow_indices),
    colIndices: indices(sparse.col_indices),
  }
}

/** The tensors of one batched field, a datum each: offsets are in bytes, the first extent follows from the rest. */
export function decodeBatched(name: string, batch: pb.BatchedTensor.$Properties, count: number): TensorOutput[] {
  const bytes = batch.data ?? new Uint8Array(0)
  const offsets = new BigInt64Array((batch.offsets ?? new Uint8Array(0)).slice().buffer)
  if (offsets.length !== count + 1) {
    throw new RangeError(`${name} has ${offsets.length} offsets for ${count} data`)
  }
  const trailing = (batch.trailing_shape ?? []).map(Number)
  const rowSize = trailing.reduce((product, extent) => product * extent, 1)
  return Array.from({ length: count }, (_, index) => {
    const data = decodeNumbers(bytes.slice(Number(offsets[index]), Number(offsets[index + 1])), batch.dtype)
    return { data, shape: [rowSize === 0 ? 0 : data.length / rowSize, ...trailing] }
  })
}

function decodeNumbers(
  bytes: Uint8Array<ArrayBuffer>,
  dtype: pb.DType | null | undefined,
): Float32Array | Float64Array {
  switch (dtype) {
    case DType.DTYPE_FLOAT32:
      return new Float32Array(bytes.buffer)
    case DType.DTYPE_INT64:
      return Float64Array.from(new BigInt64Array(bytes.buffer), Number)
    case DType.DTYPE_INT32:
      return Float64Array.from(new Int32Array(bytes.buffer))
    case DType.DTYPE_BFLOAT16:
      return new Float32Array(Uint32Array.from(new Uint16Array(bytes.buffer), (half) => half << 16).buffer)
    default:
      throw new RangeError(`it has a tensor of the unknown type ${dtype}`)
  }
}
