// Reads a protobuf ForwardBackwardRequest without decoding it: who sent it with which number, and how many messages it holds.
// Decoding makes an object of each message, so two bytes of body can cost hundreds of bytes of memory: that is refused first.
// Knows field numbers only; a body that is broken yields what stands before the break.

import protobuf from 'protobufjs/minimal.js'
import { serviceError } from '../errors.ts'

/** Datums, chunks, tensors, spans and configuration entries of one request together. The SDK sends up to about 10 000. */
export const MAX_MESSAGES = 2 ** 18

const MODEL_ID = 1
const SEQ_ID = 2
const DATUM = 3
const BYTES = 2

/** Model and number of a request, as far as they can be read. A number whose request is refused must count as used. */
export interface Peeked {
  readonly modelId?: string
  readonly seqId?: number
}

export function peekTraining(bytes: Uint8Array): Peeked {
  const found: { modelId?: string; seqId?: number } = {}
  const reader = protobuf.Reader.create(bytes)
  try {
    while (reader.pos < reader.len) {
      const tag = reader.uint32()
      if (tag === ((MODEL_ID << 3) | BYTES)) found.modelId = reader.string()
      else if (tag === SEQ_ID << 3) found.seqId = reader.int32()
      else reader.skipType(tag & 7)
    }
  } catch {
    // A broken body: what was found before is all there is.
  }
  return found
}

/** Throws BODY_TOO_COMPLEX. A body that is broken passes: decoding it will say how. */
export function checkComplexity(bytes: Uint8Array): void {
  const reader = protobuf.Reader.create(bytes)
  try {
    let messages = 0
    while (reader.pos < reader.len) {
      const tag = reader.uint32()
      if (tag >>> 3 === DATUM && (tag & 7) === BYTES) messages += countFields(reader, reader.uint32())
      else reader.skipType(tag & 7)
      messages++
      if (messages > MAX_MESSAGES) break
    }
    if (messages <= MAX_MESSAGES) return
  } catch {
    return
  }
  throw serviceError('BODY_TOO_COMPLEX', { problem: `more than ${MAX_MESSAGES} messages` })
}

function countFields(reader: protobuf.Reader, length: number): number {
  const end = reader.pos + length
  let fields = 0
  while (reader.pos < end) {
    reader.skipType(reader.uint32() & 7)
    fields++
  }
  return fields
}
