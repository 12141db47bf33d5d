// A model input is a row of chunks; the models served here read text, so what comes out is one row of tokens.
// Chunks of other kinds are refused by name. Both encodings are read here. Knows nothing of vocabularies or contexts.

import type { Schemas } from '../../generated/operations.ts'
import type { tinker_public } from '../../generated/tinker-proto.js'
import { serviceError } from '../errors.ts'
import { readInt32 } from './bytes.ts'

/** Old clients send no `type`, so a chunk is told by the field that only it has; the oldest count `tokens` in images too. */
const KIND_OF_FIELD = [
  ['location', 'image_asset_pointer'],
  ['data', 'image'],
  ['dmel', 'dmel'],
  ['tokens', 'encoded_text'],
] as const

/** @param where what the tokens belong to, for messages: "Datum 3" or "The prompt" */
export function tokensOfJson(input: Schemas['ModelInput'], where: string): Int32Array {
  return joined(
    input.chunks.map((chunk) => {
      const type = kindOf(chunk)
      if (type === 'encoded_text' && 'tokens' in chunk) return int32(chunk.tokens, where)
      throw serviceError('UNSUPPORTED_CHUNK', { where, type })
    }),
    where,
  )
}

export function tokensOfProto(chunks: readonly tinker_public.Chunk.$Properties[], where: string): Int32Array {
  return joined(
    chunks.map((chunk) => {
      if (chunk.encoded_text) return textOf(chunk.encoded_text.tokens ?? new Uint8Array(0), where)
      throw serviceError('UNSUPPORTED_CHUNK', { where, type: chunk.image ? 'image' : chunk.dmel ? 'dmel' : 'unknown' })
    }),
    where,
  )
}

function textOf(bytes: Uint8Array, where: string): Int32Array {
  if (bytes.length % 4 === 0) return readInt32(bytes)
  throw serviceError('INVALID_TOKENS', { where, problem: `a text chunk of ${bytes.length} bytes is not whole int32s` })
}

function int32(tokens: readonly number[], where: string): Int32Array {
  const values = Int32Array.from(tokens)
  const bad = tokens.findIndex((token, i) => token !== values[i])
  if (bad < 0) return values
  throw serviceError('INVALID_TOKENS', { where, problem: `${tokens[bad]} is not a 32-bit token` })
}

function joined(parts: readonly Int32Array[], where: string): Int32Array {
  const [only] = parts
  const tokens = parts.length === 1 && only ? only : new Int32Array(parts.reduce((sum, part) => sum + part.length, 0))
  if (tokens.length === 0) throw serviceError('EMPTY_INPUT', { where })
  if (tokens === only) return tokens
  let at = 0
  for (const part of parts) {
    tokens.set(part, at)
    at += part.length
  }
  return tokens
}

function kindOf(chunk: Readonly<Record<string, unknown>>): string {
  return KIND_OF_FIELD.find(([field]) => chunk[field] != null)?.[1] ?? 'unknown'
}
