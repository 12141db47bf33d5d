/**
 * Bytes in and out of files: reads by position (`fs.readFileSync` stops at 2 GiB), JSON with a size limit,
 * and writes that are either complete or absent (temporary name, sync, rename).
 * Knows no format.
 */
import { randomBytes } from 'node:crypto'
import * as fs from 'node:fs'
import * as path from 'node:path'
import { corrupt, missing } from './format-error.ts'
import { parseJsonObject } from './json-fields.ts'

/** A single `fs.readSync` or `fs.writeSync` takes at most 2 GiB - 1 bytes; stay well below. */
const LARGEST_TRANSFER = 1 << 30
const LARGEST_JSON = 256 * 1024 * 1024

/** Reads exactly `length` bytes from `position` on, or throws a FormatError if the file is shorter. */
export function readBytes(file: string, position: number, length: number): Uint8Array {
  const descriptor = openForReading(file)
  try {
    const bytes = new Uint8Array(length)
    let done = 0
    while (done < length) {
      const read = fs.readSync(descriptor, bytes, done, Math.min(length - done, LARGEST_TRANSFER), position + done)
      if (read === 0) throw corrupt(file, `ends after ${position + done} bytes, but ${position + length} were expected`)
      done += read
    }
    return bytes
  } finally {
    fs.closeSync(descriptor)
  }
}

/** Size in bytes of a regular file; a FormatError if it is missing or something else than a file. */
export function fileSize(file: string): number {
  const stat = fs.statSync(file, { throwIfNoEntry: false })
  if (!stat) throw missing(file, 'no such file')
  if (!stat.isFile()) throw missing(file, 'is not a file')
  return stat.size
}

/** A JSON object from a file. Keys come from the file: read them with `Object.hasOwn` or `Object.entries`. */
export function readJsonObject(file: string): Record<string, unknown> {
  const size = fileSize(file)
  if (size > LARGEST_JSON) throw corrupt(file, `is ${size} bytes long; JSON up to ${LARGEST_JSON} bytes is read`)
  return parseJsonObject(file, readBytes(file, 0, size))
}

/** Writes the chunks one after another; a reader sees the old file or the whole new one, also after a power loss. */
export function writeFileAtomically(file: string, chunks: Iterable<Uint8Array>): void {
  const temporary = `${file}.${process.pid}-${randomBytes(4).toString('hex')}.tmp`
  const descriptor = fs.openSync(temporary, 'wx')
  try {
    try {
      for (const chunk of chunks) writeAll(descriptor, chunk)
      fs.fsyncSync(descriptor)
    } finally {
      fs.closeSync(descriptor)
    }
    fs.renameSync(temporary, file)
  } catch (error) {
    fs.rmSync(temporary, { force: true })
    throw error
  }
  syncFolder(path.dirname(file))
}

function writeAll(descriptor: number, chunk: Uint8Array): void {
  let done = 0
  while (done < chunk.byteLength) {
    done += fs.writeSync(descriptor, chunk, done, Math.min(chunk.byteLength - done, LARGEST_TRANSFER))
  }
}

/** Makes the rename itself durable. Windows cannot open folders and needs no such call. */
function syncFolder(folder: string): void {
  if (process.platform === 'win32') return
  const descriptor = fs.openSync(folder, 'r')
  try {
    fs.fsyncSync(descriptor)
  } finally {
    fs.closeSync(descriptor)
  }
}

function openForReading(file: string): number {
  try {
    return fs.openSync(file, 'r')
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') throw missing(file, 'no such file')
    throw cause
  }
}
