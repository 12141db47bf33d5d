/** Test helper: writes GGUF files, good and bad ones, from plain values. */
import * as fs from 'node:fs'
import * as path from 'node:path'
import { temporaryFolder } from './temporary-folder.ts'

export interface GgufTensorSpec {
  readonly name: string
  /** Row-major, as everywhere else. */
  readonly shape: readonly number[]
  readonly typeId: number
  readonly bytes: Uint8Array
}

export const U32 = 4
export const F32 = 6
export const BOOL = 7
export const STRING = 8
export const STRINGS = [9, 8] as const
export const I32S = [9, 5] as const

export function writeGguf(
  metadata: readonly (readonly [string, number | readonly [number, number], unknown])[],
  tensors: readonly GgufTensorSpec[],
  changes: { version?: number; tensorCount?: number; magic?: string } = {},
): string {
  const out = new ByteWriter()
  out.raw(new TextEncoder().encode(changes.magic ?? 'GGUF'))
  out.u32(changes.version ?? 3)
  out.u64(changes.tensorCount ?? tensors.length)
  out.u64(metadata.length)
  for (const [key, type, value] of metadata) {
    out.string(key)
    writeValue(out, type, value)
  }
  let offset = 0
  for (const { name, shape, typeId, bytes } of tensors) {
    out.string(name)
    out.u32(shape.length)
    for (const size of [...shape].reverse()) out.u64(size)
    out.u32(typeId)
    out.u64(offset)
    offset += Math.ceil(bytes.length / 32) * 32
  }
  out.pad(32)
  for (const { bytes } of tensors) {
    out.raw(bytes)
    out.pad(32)
  }
  const file = path.join(temporaryFolder(), 'model.gguf')
  fs.writeFileSync(file, out.bytes())
  return file
}

function writeValue(out: ByteWriter, type: number | readonly [number, number], value: unknown): void {
  if (typeof type !== 'number') {
    const list = value as unknown[]
    out.u32(type[0])
    out.u32(type[1])
    out.u64(list.length)
    for (const element of list) writeScalar(out, type[1], element)
    return
  }
  out.u32(type)
  writeScalar(out, type, value)
}

function writeScalar(out: ByteWriter, type: number, value: unknown): void {
  if (type === STRING) out.string(value as string)
  else if (type === F32) out.raw(new Uint8Array(Float32Array.of(value as number).buffer))
  else if (type === BOOL) out.raw(Uint8Array.of(value ? 1 : 0))
  else out.u32(value as number)
}

class ByteWriter {
  private readonly parts: Uint8Array[] = []
  private length = 0

  raw(bytes: Uint8Array): void {
    this.parts.push(bytes)
    this.length += bytes.length
  }

  u32(value: number): void {
    this.raw(new Uint8Array(Uint32Array.of(value).buffer))
  }

  u64(value: number): void {
    this.raw(new Uint8Array(BigUint64Array.of(BigInt(value)).buffer))
  }

  string(text: string): void {
    const bytes = new TextEncoder().encode(text)
    this.u64(bytes.length)
    this.raw(bytes)
  }

  pad(alignment: number): void {
    this.raw(new Uint8Array((alignment - (this.length % alignment)) % alignment))
  }

  bytes(): Uint8Array {
    return Buffer.concat(this.parts)
  }
}
