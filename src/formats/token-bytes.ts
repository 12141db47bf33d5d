/**
 * The bytes each token stands for. Text cannot be taken token by token (a character may be cut between two), bytes can.
 * Knows the two ways vocabularies spell bytes: byte-level (GPT-2, Llama 3, Qwen, SmolLM) and ▁ with <0xNN> (Llama 2).
 */
import { unsupported } from './format-error.ts'

export type Spelling = 'byte-level' | 'byte-fallback'

/** Finds out from the decoder of tokenizer.json. Throws a FormatError that names an unknown one. */
export function spellingOf(file: string, decoder: unknown): Spelling {
  const types = decoderTypes(decoder)
  if (types.includes('ByteLevel')) return 'byte-level'
  if (types.includes('ByteFallback')) return 'byte-fallback'
  throw unsupported(file, `decoder ${types.join(' + ') || 'null'}`, ['ByteLevel', 'Sequence with ByteFallback'])
}

export function bytesOfToken(token: string, spelling: Spelling): Uint8Array {
  if (spelling === 'byte-level') return byteLevelBytes(token)
  const byte = /^<0x([0-9A-Fa-f]{2})>$/.exec(token)?.[1]
  return byte ? Uint8Array.of(Number.parseInt(byte, 16)) : utf8(token.replaceAll('▁', ' '))
}

function decoderTypes(decoder: unknown): string[] {
  const { type, decoders } = (decoder ?? {}) as { type?: string; decoders?: unknown[] }
  return type === 'Sequence' ? (decoders ?? []).flatMap(decoderTypes) : type === undefined ? [] : [type]
}

function byteLevelBytes(token: string): Uint8Array {
  const bytes = new Uint8Array(token.length)
  for (let i = 0; i < token.length; i++) {
    const byte = byteOfCharacter().get(token[i] as string)
    // An ordinary vocabulary entry has only characters of the alphabet; one that has others was added as text.
    if (byte === undefined) return utf8(token)
    bytes[i] = byte
  }
  return bytes
}

let alphabet: Map<string, number> | undefined

/**
 * Byte-level vocabularies write a printable Latin-1 byte as its character, and the other bytes, in order, as the
 * characters from U+0100 on.
 */
function byteOfCharacter(): Map<string, number> {
  if (alphabet) return alphabet
  alphabet = new Map()
  let next = 0x100
  for (let byte = 0; byte < 256; byte++) {
    const printable = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte !== 0xad)
    alphabet.set(String.fromCharCode(printable ? byte : next++), byte)
  }
  return alphabet
}

function utf8(text: string): Uint8Array {
  return new TextEncoder().encode(text)
}
