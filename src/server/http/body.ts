// Takes a request's body off the wire: counted against the caps while it streams, into a buffer of the announced size, and
// decoded from zstd or gzip under the same cap. When a body is refused the rest of it is thrown away, so that the client
// reads its answer and the connection stays usable. Knows bytes; knows nothing of JSON or protobuf.

import type { IncomingMessage } from 'node:http'
import { Readable } from 'node:stream'
import { serviceError } from '../errors.ts'
import type { BodyBudget, Lease } from './body-budget.ts'
import { decodeGzip } from './gzip.ts'
import { decodeZstd } from './zstd.ts'

export interface BodyLimits {
  /** Of one body, as received and decoded. */
  readonly maxBytes: number
  readonly budget: BodyBudget
  /** Whose share of the budget it takes. */
  readonly owner: string
  /** Gets the first bytes of a body that is too large, before it is refused. */
  readonly onTooLarge?: (head: Uint8Array) => unknown
}

export interface Body {
  readonly bytes: Uint8Array
  /** As received, before decoding. */
  readonly received: number
  /** Gives its share of the budget back; call it when the bytes are needed no more. */
  readonly release: () => void
}

const DECODERS: Readonly<Record<string, (bytes: Uint8Array, maxBytes: number) => Promise<Uint8Array>>> = {
  zstd: decodeZstd,
  gzip: decodeGzip,
}

/** Of a refused body, so many bytes are read and thrown away; a client that sends more is cut off. */
const DISCARD_BYTES = 2 ** 30

/** Throws BODY_TOO_LARGE, DECODED_BODY_TOO_LARGE, BODY_INCOMPLETE, BUSY, TENANT_BUSY, or why it could not be decoded. */
export async function readBody(request: IncomingMessage, limits: BodyLimits): Promise<Body> {
  const { maxBytes, budget, owner } = limits
  const lease = budget.lease(owner)
  try {
    const encoding = encodingOf(request)
    const raw = await collect(request, limits, lease)
    const bytes = encoding === null ? raw : await decode(encoding, raw, maxBytes, lease)
    return { bytes, received: raw.length, release: lease.release }
  } catch (error) {
    lease.release()
    discard(request)
    throw error
  }
}

function encodingOf(request: IncomingMessage): string | null {
  const given = request.headers['content-encoding']?.trim().toLowerCase() ?? 'identity'
  if (given === 'identity' || given === '') return null
  if (Object.hasOwn(DECODERS, given)) return given
  throw serviceError('UNSUPPORTED_CONTENT_ENCODING', { given, accepted: Object.keys(DECODERS) })
}

async function decode(encoding: string, raw: Uint8Array, maxBytes: number, lease: Lease): Promise<Uint8Array> {
  lease.resize(raw.length + maxBytes)
  const bytes = await DECODERS[encoding]!(raw, maxBytes)
  lease.resize(bytes.length)
  return bytes
}

async function collect(
  request: IncomingMessage,
  { maxBytes, onTooLarge }: BodyLimits,
  lease: Lease,
): Promise<Uint8Array> {
  const announced = Number(request.headers['content-length'] ?? Number.NaN)
  const refuse = async (head: Uint8Array) => {
    await onTooLarge?.(head)
    throw serviceError('BODY_TOO_LARGE', { limit: maxBytes })
  }
  if (announced > maxBytes) return refuse(await firstChunk(request))
  const sink = announced >= 0 ? fixedSink(announced, lease) : growingSink(lease)
  return new Promise((resolve, reject) => {
    const done = (settle: () => void) => {
      request.off('data', onData).off('end', onEnd).off('error', onLost).off('close', onLost)
      settle()
    }
    const onData = (chunk: Buffer) => {
      if (sink.length() + chunk.length > maxBytes) return done(() => resolve(refuse(sink.head() ?? chunk)))
      try {
        sink.add(chunk)
      } catch (error) {
        done(() => reject(error))
      }
    }
    const onEnd = () => done(() => resolve(sink.bytes()))
    const onLost = () => {
      const expected = Number.isNaN(announced) ? 'an unknown number of' : announced
      done(() => reject(serviceError('BODY_INCOMPLETE', { received: sink.length(), expected })))
    }
    request.on('data', onData).on('end', onEnd).on('error', onLost).on('close', onLost)
  })
}

/** Nothing when the client goes away first. */
function firstChunk(request: IncomingMessage): Promise<Uint8Array> {
  return new Promise((resolve) => {
    request.once('data', resolve).once('close', () => resolve(new Uint8Array()))
    request.once('end', () => resolve(new Uint8Array()))
  })
}

interface Sink {
  add(chunk: Uint8Array): void
  length(): number
  /** What came first, if anything did. */
  head(): Uint8Array | undefined
  bytes(): Uint8Array
}

/** Node's parser sees to it that no more than the announced bytes come. */
function fixedSink(size: number, lease: Lease): Sink {
  const buffer = Buffer.allocUnsafe(size)
  let length = 0
  return {
    add(chunk) {
      // What has come, not what was announced: a sender that is silent must not hold the memory of those who send.
      lease.resize(length + chunk.length)
      buffer.set(chunk, length)
      length += chunk.length
    },
    length: () => length,
    head: () => (length ? buffer.subarray(0, length) : undefined),
    bytes: () => buffer.subarray(0, length),
  }
}

function growingSink(lease: Lease): Sink {
  const chunks: Uint8Array[] = []
  let length = 0
  return {
    add(chunk) {
      // Twice: joining the chunks copies them.
      lease.resize(2 * (length + chunk.length))
      length += chunk.length
      chunks.push(chunk)
    },
    length: () => length,
    head: () => chunks[0],
    bytes() {
      const joined = Buffer.concat(chunks, length)
      lease.resize(length)
      return joined
    },
  }
}

/** A body as it comes in. Whoever stops reading it early ends this stream, and not the request, which has an answer to get. */
export function streamOf(request: IncomingMessage): Readable {
  return Readable.from(chunksOf(request), { objectMode: false })
}

/** A generator of its own: an error thrown into the request's iterator would destroy the request, a return does not. */
async function* chunksOf(request: IncomingMessage): AsyncGenerator<Buffer> {
  for await (const chunk of request.iterator({ destroyOnReturn: false })) yield chunk
}

/** Reads and throws away what is left of a body. */
export function discard(request: IncomingMessage): void {
  if (request.readableEnded || request.destroyed) return
  let left = DISCARD_BYTES
  request.on('error', () => {})
  request.on('data', (chunk: Buffer) => {
    left -= chunk.length
    if (left < 0) request.destroy()
  })
  // An iterator that was left in the middle still listens for `readable`, and while one does, nothing flows.
  request.removeAllListeners('readable')
  setImmediate(() => request.resume())
}
