// A prompt, or the input of a training example: chunks of tokens, images or sound, in order. Which kinds a model takes, the
// server says.

import { TinkerError } from './errors.ts'

export interface EncodedTextChunk {
  readonly type: 'encoded_text'
  readonly tokens: Int32Array
}

export interface ImageChunk {
  readonly type: 'image'
  /** The bytes of the file. */
  readonly data: Uint8Array
  readonly format: 'png' | 'jpeg'
  /** How many tokens the image is expected to take; the server refuses it when that is wrong. */
  readonly expectedTokens?: number
}

/** An image that the server fetches. Samples take it; training does not. */
export interface ImageAssetPointerChunk {
  readonly type: 'image_asset_pointer'
  readonly location: string
  readonly format: 'png' | 'jpeg'
  readonly expectedTokens?: number
}

/** Sound: a serialized tensor whose first dimension is its length in tokens. */
export interface DmelChunk {
  readonly type: 'dmel'
  readonly dmel: Uint8Array
}

export type ModelInputChunk = EncodedTextChunk | ImageChunk | ImageAssetPointerChunk | DmelChunk

export class ModelInput {
  readonly chunks: readonly ModelInputChunk[]

  constructor(chunks: readonly ModelInputChunk[]) {
    this.chunks = chunks
  }

  /** Throws TinkerError for anything but whole numbers from 0 that fit 32 bits. */
  static fromInts(tokens: ArrayLike<number>): ModelInput {
    return new ModelInput([textChunk(tokens)])
  }

  static empty(): ModelInput {
    return new ModelInput([])
  }

  /** In tokens. Throws TinkerError for an image that does not say how many it takes. */
  get length(): number {
    return this.chunks.reduce((sum, chunk) => sum + chunkLength(chunk), 0)
  }

  /** Throws TinkerError when not all of it is text. */
  toInts(): number[] {
    return this.chunks.flatMap((chunk) => {
      if (chunk.type !== 'encoded_text')
        throw new TinkerError(`Only text has tokens as numbers; this has ${chunk.type}.`)
      return Array.from(chunk.tokens)
    })
  }

  /** A new input that ends with these tokens, or with this chunk. */
  append(more: ArrayLike<number> | ModelInputChunk): ModelInput {
    if ('type' in more) return new ModelInput([...this.chunks, more])
    const last = this.chunks.at(-1)
    if (last?.type !== 'encoded_text') return new ModelInput([...this.chunks, textChunk(more)])
    const joined = textChunk([...last.tokens, ...Array.from(more)])
    return new ModelInput([...this.chunks.slice(0, -1), joined])
  }

  appendInt(token: number): ModelInput {
    return this.append([token])
  }
}

export function textChunk(tokens: ArrayLike<number>): EncodedTextChunk {
  const copy = Int32Array.from(tokens)
  const bad = copy.findIndex((token, index) => token !== tokens[index] || token < 0)
  if (bad >= 0) throw new TinkerError(`Token ${bad} is ${tokens[bad]}; tokens are whole numbers from 0.`)
  return { type: 'encoded_text', tokens: copy }
}

/** What a request with this chunk is taken to weigh, at so many bytes a token of text. */
export function chunkBytes(chunk: ModelInputChunk, bytesPerToken: number): number {
  switch (chunk.type) {
    case 'encoded_text':
      return chunk.tokens.length * bytesPerToken
    case 'image':
      return chunk.data.length
    case 'image_asset_pointer':
      return chunk.location.length
    case 'dmel':
      return chunk.dmel.length
  }
}

function chunkLength(chunk: ModelInputChunk): number {
  if (chunk.type === 'encoded_text') return chunk.tokens.length
  if (chunk.type === 'dmel') return firstDimension(chunk.dmel)
  if (chunk.expectedTokens !== undefined) return chunk.expectedTokens
  throw new TinkerError(`The length of an ${chunk.type} chunk is not known: give its expectedTokens.`)
}

const CONSTANT_MARK = 0xfe
const LAST_DTYPE = 7

/** Header of the container: an optional mark, a type, the number of dimensions and each of them as varints. */
function firstDimension(bytes: Uint8Array): number {
  let at = bytes[0] === CONSTANT_MARK ? 1 : 0
  const dtype = bytes[at++]
  const varint = () => {
    let value = 0
    for (let shift = 1; ; shift *= 128) {
      const byte = bytes[at++]
      if (byte === undefined || shift > 2 ** 49)
        throw new TinkerError('The dmel chunk is damaged: its header ends early.')
      value += (byte & 127) * shift
      if (byte < 128) return value
    }
  }
  if (dtype === undefined || dtype > LAST_DTYPE) throw new TinkerError('The dmel chunk is none: its type is unknown.')
  if (varint() === 0) throw new TinkerError('The dmel chunk has no dimensions, and so no length.')
  return varint()
}
