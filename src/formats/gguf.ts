/**
 * Reads .gguf files: metadata, tensor table, and tensors dequantised to float32 on demand.
 * Knows the container; what names and metadata mean for a model is model-gguf.ts, block layouts are gguf-quants.ts.
 * Format: github.com/ggml-org/ggml, docs/gguf.md, versions 2 and 3, little-endian.
 */
import * as fs from 'node:fs'
import { fileSize, readBytes } from './file-bytes.ts'
import { corrupt, unsupported } from './format-error.ts'
import { dequantise, ggmlType, READABLE_GGML_TYPES } from './gguf-quants.ts'
import { elementCount, formatShape, type LazyTensor } from './tensor.ts'

export type GgufValue = number | bigint | boolean | string | GgufValue[]

export interface GgufFile {
  readonly file: string
  readonly metadata: ReadonlyMap<string, GgufValue>
  /** By GGUF name; shapes are row-major as everywhere here (the file stores them innermost first). */
  readonly tensors: ReadonlyMap<string, LazyTensor>
}

const MAGIC = 'GGUF'
const VERSIONS = [2, 3]
const DEFAULT_ALIGNMENT = 32
const MOST_DIMENSIONS = 4
const MOST_NESTING = 4

/** Reads metadata and the tensor table. Throws FormatError naming the file and the key or tensor. */
export function readGguf(file: string): GgufFile {
  const size = fileSize(file)
  const cursor = new Cursor(file, size)
  if (size < 24 || new TextDecoder('latin1').decode(cursor.take(4)) !== MAGIC) throw corrupt(file, 'is not a GGUF file')
  const version = cursor.u32()
  if (!VERSIONS.includes(version)) throw unsupported(file, `GGUF version ${version}`, VERSIONS.map(String))
  const tensorCount = cursor.count('tensors', 24)
  const keyCount = cursor.count('metadata keys', 13)
  const metadata = readMetadata(cursor, keyCount)
  const table = readTensorTable(cursor, tensorCount)
  const alignment = metadata.get('general.alignment') ?? DEFAULT_ALIGNMENT
  if (typeof alignment !== 'number' || alignment < 1) throw corrupt(file, `general.alignment is ${alignment}`)
  const dataStart = Math.ceil(cursor.position / alignment) * alignment
  const mapped = fs.realpathSync(file)
  const tensors = new Map<string, LazyTensor>()
  for (const row of table) {
    if (tensors.has(row.name)) throw corrupt(file, `lists tensor "${row.name}" twice`)
    tensors.set(row.name, toTensor(file, mapped, row, dataStart, size))
  }
  return { file, metadata, tensors }
}

interface TensorRow {
  readonly name: string
  readonly shape: readonly number[]
  readonly typeId: number
  /** In bytes from the start of the data. */
  readonly offset: number
}

function toTensor(file: string, mapped: string, row: TensorRow, dataStart: number, size: number): LazyTensor {
  const type = ggmlType(row.typeId)
  if (!type.readable) throw unsupported(file, `tensor "${row.name}": type ${type.name}`, READABLE_GGML_TYPES)
  const { name, shape } = row
  const rowLength = shape.at(-1) ?? 1
  if (rowLength % type.blockElements !== 0) {
    throw corrupt(
      file,
      `tensor "${name}": rows of ${rowLength} do not fill ${type.name} blocks of ${type.blockElements}`,
    )
  }
  const length = (elementCount(shape) / type.blockElements) * type.blockBytes
  const offset = dataStart + row.offset
  if (!Number.isSafeInteger(length) || offset + length > size) {
    throw corrupt(
      file,
      `tensor "${name}" ${type.name} ${formatShape(shape)} ends at byte ${offset + length}, the file at byte ${size}; is the download complete?`,
    )
  }
  const read = () => dequantise(readBytes(file, offset, length), type.name)
  const tensor = { name, shape, dtype: type.name, read }
  return type.name === 'F32' ? { ...tensor, location: { file: mapped, offset, length } } : tensor
}

function readMetadata(cursor: Cursor, count: number): Map<string, GgufValue> {
  const metadata = new Map<string, GgufValue>()
  for (let i = 0; i < count; i++) {
    const key = cursor.string('a metadata key')
    metadata.set(key, readValue(cursor, cursor.u32(), key, 0))
  }
  return metadata
}

function readTensorTable(cursor: Cursor, count: number): TensorRow[] {
  return Array.from({ length: count }, () => {
    const name = cursor.string('a tensor name')
    const dimensions = cursor.u32()
    if (dimensions > MOST_DIMENSIONS) throw corrupt(cursor.file, `tensor "${name}" has ${dimensions} dimensions`)
    const shape = Array.from({ length: dimensions }, () => cursor.u64(`a dimension of tensor "${name}"`)).reverse()
    return { name, shape, typeId: cursor.u32(), offset: cursor.u64(`the offset of tensor "${name}"`) }
  })
}

/** Value types by their number in the file; fixed-size ones with a reader, 8 = string, 9 = array. */
const FIXED_VALUES: Readonly<Record<number, (view: DataView) => GgufValue>> = {
  0: (view) => view.getUint8(0),
  1: (view) => view.getInt8(0),
  2: (view) => view.getUint16(0, true),
  3: (view) => view.getInt16(0, true),
  4: (view) => view.getUint32(0, true),
  5: (view) => view.getInt32(0, true),
  6: (view) => view.getFloat32(0, true),
  7: (view) => view.getUint8(0) !== 0,
  10: (view) => view.getBigUint64(0, true),
  11: (view) => view.getBigInt64(0, true),
  12: (view) => view.getFloat64(0, true),
}
const FIXED_BYTES: Readonly<Record<number, number>> = {
  0: 1,
  1: 1,
  2: 2,
  3: 2,
  4: 4,
  5: 4,
  6: 4,
  7: 1,
  10: 8,
  11: 8,
  12: 8,
}
const STRING = 8
const ARRAY = 9

function readValue(cursor: Cursor, type: number, key: string, depth: number): GgufValue {
  if (type === STRING) return cursor.string(`"${key}"`)
  if (type === ARRAY) {
    if (depth >= MOST_NESTING) throw corrupt(cursor.file, `"${key}" nests arrays more than ${MOST_NESTING} deep`)
    const elementType = cursor.u32()
    const smallest = FIXED_BYTES[elementType] ?? 8
    const length = cursor.count(`elements of "${key}"`, smallest)
    return Array.from({ length }, () => readValue(cursor, elementType, key, depth + 1))
  }
  const read = FIXED_VALUES[type]
  const bytes = FIXED_BYTES[type]
  if (!read || !bytes) throw corrupt(cursor.file, `"${key}" has the unknown value type ${type}`)
  return read(cursor.view(bytes))
}

/** Reads forward through a file in windows, so that no more of it than the header comes into memory. */
class Cursor {
  readonly file: string
  position = 0
  private readonly size: number
  private window = new Uint8Array(0)
  private windowStart = 0

  constructor(file: string, size: number) {
    this.file = file
    this.size = size
  }

  take(length: number): Uint8Array {
    if (length > this.size - this.position) {
      throw corrupt(
        this.file,
        `its header wants ${length} bytes at byte ${this.position}, but the file has ${this.size}`,
      )
    }
    let start = this.position - this.windowStart
    if (start + length > this.window.length) {
      const windowLength = Math.min(Math.max(length, 1 << 20), this.size - this.position)
      this.window = readBytes(this.file, this.position, windowLength) as Uint8Array<ArrayBuffer>
      this.windowStart = this.position
      start = 0
    }
    this.position += length
    return this.window.subarray(start, start + length)
  }

  view(length: number): DataView {
    const bytes = this.take(length)
    return new DataView(bytes.buffer, bytes.byteOffset, length)
  }

  u32(): number {
    return this.view(4).getUint32(0, true)
  }

  u64(what: string): number {
    const value = this.view(8).getBigUint64(0, true)
    if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw corrupt(this.file, `${what} is ${value}`)
    return Number(value)
  }

  /** A number of things that take at least `smallest` bytes each: more than can follow is a damaged file. */
  count(what: string, smallest: number): number {
    const count = this.u64(`the number of ${what}`)
    if (count * smallest > this.size - this.position) {
      throw corrupt(this.file, `claims ${count} ${what}, more than its ${this.size} bytes can hold`)
    }
    return count
  }

  string(what: string): string {
    return new TextDecoder().decode(this.take(this.u64(`the length of ${what}`)))
  }
}
