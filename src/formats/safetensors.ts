/**
 * Reads and writes .safetensors files: 8 bytes of header length, a JSON header, raw row-major tensors.
 * Every header is checked before a byte of data is read, since adapters and models may come from strangers.
 * Knows one file; folders of shards are safetensors-folder.ts. Format: github.com/huggingface/safetensors, README.
 */
import * as fs from 'node:fs'
import { DTYPE_BYTES, type DType, isDType, isReadable, READABLE_DTYPES, toFloat32, toFloat64 } from './dtype.ts'
import { fileSize, readBytes, writeFileAtomically } from './file-bytes.ts'
import { corrupt, unsupported } from './format-error.ts'
import { parseJsonObject } from './json-fields.ts'
import { elementCount, formatShape, type LazyTensor } from './tensor.ts'

/** The limit of the reference implementation, in bytes. */
const LARGEST_HEADER = 100_000_000
/** Tensors start at a multiple of this many bytes, so that a mapped file can be used in place. */
const HEADER_ALIGNMENT = 64

export interface SafetensorsEntry {
  readonly name: string
  readonly dtype: DType
  readonly shape: readonly number[]
  /** In bytes from the start of the file. */
  readonly offset: number
  /** In bytes. */
  readonly length: number
}

export interface SafetensorsHeader {
  readonly file: string
  /** Free strings that the writer left under `__metadata__`. */
  readonly metadata: ReadonlyMap<string, string>
  readonly entries: ReadonlyMap<string, SafetensorsEntry>
}

/** Reads and checks the header alone. Throws FormatError naming the file and the tensor. */
export function readSafetensorsHeader(file: string): SafetensorsHeader {
  const size = fileSize(file)
  if (size < 8) throw corrupt(file, `is ${size} bytes long; a safetensors file has at least 8`)
  const headerLength = Number(new DataView(readBytes(file, 0, 8).buffer).getBigUint64(0, true))
  if (headerLength > LARGEST_HEADER || headerLength > size - 8) {
    throw corrupt(file, `claims a header of ${headerLength} bytes in a file of ${size}; the limit is ${LARGEST_HEADER}`)
  }
  const header = parseJsonObject(file, readBytes(file, 8, headerLength))
  const dataStart = 8 + headerLength
  const entries = new Map<string, SafetensorsEntry>()
  for (const [name, value] of Object.entries(header)) {
    if (name !== '__metadata__') entries.set(name, parseEntry(file, name, value, dataStart))
  }
  checkLayout(file, entries, dataStart, size)
  return { file, metadata: parseMetadata(file, header), entries }
}

/** All elements of one tensor as float32 (see dtype.ts for rounding). */
function readTensor(file: string, entry: SafetensorsEntry): Float32Array {
  return toFloat32(readBytes(file, entry.offset, entry.length), readableDType(file, entry))
}

/** All elements in float64: exact for float types, for reference values and tests. */
export function readTensorFloat64(file: string, entry: SafetensorsEntry): Float64Array {
  return toFloat64(readBytes(file, entry.offset, entry.length), readableDType(file, entry))
}

/** The tensors of a file by name, read on demand. */
export function openSafetensors(file: string): Map<string, LazyTensor> {
  const header = readSafetensorsHeader(file)
  const mapped = fs.realpathSync(file)
  const tensors = new Map<string, LazyTensor>()
  for (const entry of header.entries.values()) {
    const { name, shape, dtype, offset, length } = entry
    const tensor = { name, shape, dtype, read: () => readTensor(file, entry) }
    tensors.set(name, dtype === 'F32' ? { ...tensor, location: { file: mapped, offset, length } } : tensor)
  }
  return tensors
}

/** A tensor to be written. Half precision is passed as raw bits with its type's name; the rest says its own type. */
export type TensorData =
  | {
      readonly shape: readonly number[]
      readonly data: Float32Array | Float64Array | Int32Array | BigInt64Array
      readonly dtype?: never
    }
  | { readonly shape: readonly number[]; readonly data: Uint16Array; readonly dtype: 'F16' | 'BF16' }

/**
 * Writes all tensors, sorted by element size and then by name so that equal contents give equal bytes and every
 * tensor is aligned. The file appears under its name only when complete and synced.
 */
export function writeSafetensors(
  file: string,
  tensors: ReadonlyMap<string, TensorData>,
  metadata: Readonly<Record<string, string>> = {},
): void {
  const sources = new Map<string, TensorSource>()
  for (const [name, tensor] of tensors) {
    sources.set(name, { shape: tensor.shape, dtype: dtypeOf(tensor), read: () => tensor.data })
  }
  writeSafetensorsLazily(file, sources, metadata)
}

/** A tensor whose numbers are made when its turn to be written comes, so that a large model is never in memory whole. */
export interface TensorSource {
  readonly shape: readonly number[]
  readonly dtype: DType
  /** Elements of the type that `dtype` names; half precision as raw bits. */
  read(): TensorData['data']
}

/** As `writeSafetensors`, with one tensor in memory at a time. */
export function writeSafetensorsLazily(
  file: string,
  tensors: ReadonlyMap<string, TensorSource>,
  metadata: Readonly<Record<string, string>> = {},
): void {
  writeFileAtomically(file, encodeSafetensors(file, tensors, metadata))
}

function* encodeSafetensors(
  file: string,
  tensors: ReadonlyMap<string, TensorSource>,
  metadata: Readonly<Record<string, string>>,
): Generator<Uint8Array> {
  const ordered = [...tensors].map(([name, tensor]) => ({ name, ...tensor }))
  ordered.sort((a, b) => DTYPE_BYTES[b.dtype] - DTYPE_BYTES[a.dtype] || (a.name < b.name ? -1 : 1))
  const header: [string, unknown][] = []
  if (Object.keys(metadata).length > 0) header.push(['__metadata__', sortedByKey(metadata)])
  let offset = 0
  for (const { name, shape, dtype } of ordered) {
    const end = offset + elementCount(shape) * DTYPE_BYTES[dtype]
    header.push([name, { dtype, shape, data_offsets: [offset, end] }])
    offset = end
  }
  yield encodeHeader(Object.fromEntries(header))
  for (const { name, shape, read } of ordered) yield bytesOf(file, name, shape, read())
}

function bytesOf(file: string, name: string, shape: readonly number[], data: TensorData['data']): Uint8Array {
  if (elementCount(shape) !== data.length) {
    throw new RangeError(
      `${file}: tensor "${name}" has ${data.length} elements, its shape ${formatShape(shape)} wants ${elementCount(shape)}`,
    )
  }
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
}

function encodeHeader(header: Record<string, unknown>): Uint8Array {
  const json = new TextEncoder().encode(JSON.stringify(header))
  const total = Math.ceil((8 + json.length) / HEADER_ALIGNMENT) * HEADER_ALIGNMENT
  const bytes = new Uint8Array(total).fill(0x20, 8)
  bytes.set(json, 8)
  new DataView(bytes.buffer).setBigUint64(0, BigInt(total - 8), true)
  return bytes
}

function dtypeOf(tensor: TensorData): DType {
  if (tensor.data instanceof Uint16Array) return tensor.dtype as 'F16' | 'BF16'
  if (tensor.data instanceof Float32Array) return 'F32'
  if (tensor.data instanceof Float64Array) return 'F64'
  return tensor.data instanceof Int32Array ? 'I32' : 'I64'
}

function parseEntry(file: string, name: string, value: unknown, dataStart: number): SafetensorsEntry {
  const { dtype, shape, data_offsets: offsets } = (value ?? {}) as Record<string, unknown>
  if (!isDType(dtype)) {
    throw unsupported(file, `tensor "${name}": dtype ${JSON.stringify(dtype)}`, Object.keys(DTYPE_BYTES))
  }
  if (!isListOfSizes(shape))
    throw corrupt(file, `tensor "${name}": shape ${JSON.stringify(shape)} is not a list of sizes`)
  if (!isListOfSizes(offsets) || offsets.length !== 2) {
    throw corrupt(file, `tensor "${name}": data_offsets ${JSON.stringify(offsets)} is not [begin, end]`)
  }
  const [begin, end] = offsets as [number, number]
  const expected = elementCount(shape) * DTYPE_BYTES[dtype]
  if (end - begin !== expected) {
    throw corrupt(
      file,
      `tensor "${name}" takes ${end - begin} bytes, but ${dtype} ${formatShape(shape)} needs ${expected}`,
    )
  }
  return { name, dtype, shape, offset: dataStart + begin, length: expected }
}

/** Tensors must fill the data without overlap, hole or remainder; so demands the reference implementation. */
function checkLayout(
  file: string,
  entries: ReadonlyMap<string, SafetensorsEntry>,
  dataStart: number,
  size: number,
): void {
  const byOffset = [...entries.values()].sort((a, b) => a.offset - b.offset || a.length - b.length)
  let end = dataStart
  for (const entry of byOffset) {
    if (entry.offset + entry.length > size) {
      throw corrupt(
        file,
        `tensor "${entry.name}" ends at byte ${entry.offset + entry.length}, the file at byte ${size}; is the download complete?`,
      )
    }
    if (entry.offset !== end) {
      throw corrupt(file, `tensor "${entry.name}" starts at byte ${entry.offset}, but the one before ends at ${end}`)
    }
    end = entry.offset + entry.length
  }
  if (end !== size) throw corrupt(file, `has ${size - end} bytes after the last tensor`)
}

function parseMetadata(file: string, header: Record<string, unknown>): Map<string, string> {
  const metadata = Object.hasOwn(header, '__metadata__') ? header.__metadata__ : {}
  const pairs = Object.entries((metadata ?? {}) as object)
  if (typeof metadata !== 'object' || pairs.some(([, value]) => typeof value !== 'string')) {
    throw corrupt(file, '__metadata__ is not a map from strings to strings')
  }
  return new Map(pairs as [string, string][])
}

function readableDType(file: string, entry: SafetensorsEntry) {
  if (!isReadable(entry.dtype)) throw unsupported(file, `tensor "${entry.name}": dtype ${entry.dtype}`, READABLE_DTYPES)
  return entry.dtype
}

function isListOfSizes(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((size) => Number.isSafeInteger(size) && size >= 0)
}

function sortedByKey(record: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(record).sort(([a], [b]) => (a < b ? -1 : 1)))
}
