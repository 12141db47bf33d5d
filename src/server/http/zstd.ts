// Decodes zstd bodies: one frame, which is what the SDK sends. A few bytes of zstd can ask for gigabytes, and for minutes of
// work without giving a byte, so the frame's structure is checked first and the work is done in a thread with a deadline.
// Node 20 has no zstd of its own; fzstd, which decodes, checks neither.

import { createRequire } from 'node:module'
import { Worker } from 'node:worker_threads'
import { serviceError } from '../errors.ts'

const MAGIC = 0xfd2fb528
/** Largest block of the format, decoded. */
const BLOCK_BYTES = 2 ** 17
/** Of one frame; an honest one has a block for every 4 to 128 KiB. */
const MAX_BLOCKS = 2 ** 16
/** The SDK's frames decode at more than 50 MB/s. */
const DEADLINE_MS = 10_000

/** Throws MALFORMED_ZSTD or DECODED_BODY_TOO_LARGE. */
export async function decodeZstd(bytes: Uint8Array, maxBytes: number, deadlineMs = DEADLINE_MS): Promise<Uint8Array> {
  const { window, content } = readFrame(bytes)
  // The decoder allocates the window before anything else; a window larger than the cap is of no use to an honest sender.
  if (Math.max(window, content ?? 0) > Math.max(maxBytes, BLOCK_BYTES)) throw tooLarge(maxBytes)
  const decoded = await decodeInThread(bytes, maxBytes, deadlineMs)
  if (content !== null && content !== decoded.length) throw malformed('its length is not the announced one')
  return decoded
}

interface Frame {
  readonly window: number
  /** Null: not announced. */
  readonly content: number | null
}

/** Reads the header, and walks over the blocks to see that the frame ends with the body. */
function readFrame(bytes: Uint8Array): Frame {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  try {
    if (view.getUint32(0, true) !== MAGIC) throw malformed('it does not begin as one')
    const flags = view.getUint8(4)
    const isSingleSegment = (flags & 32) !== 0
    const hasChecksum = (flags & 4) !== 0
    if ((flags & 3) !== 0) throw malformed('it needs a dictionary')
    let at = 5
    const windowByte = isSingleSegment ? 0 : view.getUint8(at++)
    const contentBytes = [isSingleSegment ? 1 : 0, 2, 4, 8][flags >> 6]!
    const content = contentBytes === 0 ? null : readSize(view, at, contentBytes)
    at = endOfBlocks(view, at + contentBytes) + (hasChecksum ? 4 : 0)
    if (at !== bytes.length) throw malformed(at > bytes.length ? 'it ends early' : 'something follows it')
    return { window: isSingleSegment ? (content ?? 0) : windowOf(windowByte), content }
  } catch (error) {
    throw error instanceof RangeError ? malformed('it ends early') : error
  }
}

function endOfBlocks(view: DataView, start: number): number {
  let at = start
  for (let blocks = 1; blocks <= MAX_BLOCKS; blocks++) {
    const header = view.getUint16(at, true) | (view.getUint8(at + 2) << 16)
    const isLast = (header & 1) !== 0
    const isRepeat = ((header >> 1) & 3) === 1
    const size = header >> 3
    if (size > BLOCK_BYTES) throw malformed(`it has a block of ${size} bytes`)
    at += 3 + (isRepeat ? 1 : size)
    if (isLast) return at
  }
  throw malformed(`it has more than ${MAX_BLOCKS} blocks`)
}

function readSize(view: DataView, at: number, bytes: number): number {
  if (bytes === 1) return view.getUint8(at)
  if (bytes === 2) return view.getUint16(at, true) + 256
  return bytes === 4 ? view.getUint32(at, true) : Number(view.getBigUint64(at, true))
}

function windowOf(descriptor: number): number {
  const base = 2 ** (10 + (descriptor >> 3))
  return base + (base / 8) * (descriptor & 7)
}

/** Plain CommonJS, so that it runs the same from sources and from a build. */
const THREAD = `
const { parentPort, workerData } = require('node:worker_threads')
const { Decompress } = require(workerData.fzstd)
const parts = []
let length = 0
const stream = new Decompress((part) => {
  length += part.length
  if (length > workerData.maxBytes) throw new Error('too large')
  parts.push(part)
})
try {
  stream.push(workerData.bytes, true)
  const bytes = new Uint8Array(length)
  let at = 0
  for (const part of parts) { bytes.set(part, at); at += part.length }
  parentPort.postMessage({ bytes }, [bytes.buffer])
} catch (error) {
  parentPort.postMessage(length > workerData.maxBytes ? {} : { problem: String(error.message) })
}
`

/** Neither: more bytes than allowed. */
interface Outcome {
  readonly bytes?: Uint8Array
  readonly problem?: string
}

async function decodeInThread(bytes: Uint8Array, maxBytes: number, deadlineMs: number): Promise<Uint8Array> {
  const fzstd = createRequire(import.meta.url).resolve('fzstd')
  const worker = new Worker(THREAD, { eval: true, workerData: { fzstd, bytes, maxBytes } })
  let timer: NodeJS.Timeout | undefined
  try {
    const outcome = await new Promise<Outcome>((resolve) => {
      worker.once('message', resolve).once('error', (error) => resolve({ problem: error.message }))
      timer = setTimeout(() => resolve({ problem: `it takes more than ${deadlineMs} ms to decode` }), deadlineMs)
    })
    if (outcome.problem !== undefined) throw malformed(outcome.problem)
    if (!outcome.bytes) throw tooLarge(maxBytes)
    return outcome.bytes
  } finally {
    clearTimeout(timer)
    await worker.terminate()
  }
}

const malformed = (problem: string) => serviceError('MALFORMED_ZSTD', { problem })
const tooLarge = (limit: number) => serviceError('DECODED_BODY_TOO_LARGE', { encoding: 'zstd', limit })
