// The text of one answer from its tokens as they come: whole characters only, without stop strings and end tokens, and with
// each token's place in it. What may turn out to be the beginning of a stop string waits. Special tokens are seen by stop
// strings, as the engine sees them, but not shown. Pure; knows nothing of the wire.

import type { TopK } from '../../backends/backend.ts'
import type { Tokenizer } from '../../formats/tokenizer.ts'

export interface TokenEntry {
  readonly id: number
  readonly logprob: number
  /** Best first; empty where none were asked for. */
  readonly best: readonly { readonly id: number; readonly logprob: number }[]
  /** Characters of the answer before it. */
  readonly offset: number
}

/** What can be shown now. An entry comes with the first piece of its token's text. */
export interface Piece {
  readonly text: string
  readonly entries: readonly TokenEntry[]
}

/** Tokens of one answer from the place `start` on. */
export interface Drawn {
  readonly start: number
  readonly tokens: Int32Array
  readonly logprobs: Float32Array
  readonly topk?: TopK
}

interface Segment {
  readonly text: string
  readonly isHidden: boolean
  readonly entry: Omit<TokenEntry, 'offset'> | null
}

type Tokens = Pick<Tokenizer, 'tokenBytes' | 'specialIds'>

export class AnswerText {
  readonly #tokenizer: Tokens
  readonly #stops: readonly string[]
  readonly #endTokens: readonly number[]
  readonly #decoder = new TextDecoder('utf-8', { ignoreBOM: true })
  /** What waits, in order. */
  #waiting: Segment[] = []
  #taken = 0
  #shown = 0
  #isOver = false

  constructor(tokenizer: Tokens, stops: readonly string[], endTokens: readonly number[]) {
    this.#tokenizer = tokenizer
    // As the engine compares them: what is no text cannot be found in one.
    this.#stops = stops.map((stop) => Buffer.from(stop).toString())
    this.#endTokens = endTokens
  }

  /** Tokens that it has had already are passed over. */
  push(drawn: Drawn): Piece {
    const pieces: Piece[] = []
    for (let i = Math.max(0, this.#taken - drawn.start); i < drawn.tokens.length; i++) {
      // What is missing in between comes with the end.
      if (drawn.start + i > this.#taken) break
      this.#taken++
      pieces.push(this.#take(drawn, i))
    }
    return joined(pieces)
  }

  /** The rest, from the whole of its tokens. */
  end(whole: Omit<Drawn, 'start'>): Piece {
    const rest = this.push({ ...whole, start: 0 })
    const left = this.#decoder.decode()
    if (left !== '' && !this.#isOver) this.#waiting.push({ text: left, isHidden: false, entry: null })
    return joined([rest, this.#isOver ? EMPTY : this.#release(Number.POSITIVE_INFINITY)])
  }

  #take({ tokens, logprobs, topk }: Drawn, i: number): Piece {
    const id = tokens[i] as number
    if (this.#isOver || this.#endTokens.includes(id)) return EMPTY
    const bytes = this.#tokenizer.tokenBytes(id)
    const isHidden = this.#tokenizer.specialIds.has(id)
    const text = isHidden ? new TextDecoder().decode(bytes) : this.#decoder.decode(bytes, { stream: true })
    this.#waiting.push({ text, isHidden, entry: { id, logprob: logprobs[i] as number, best: bestAt(topk, i) } })
    const waiting = this.#waiting.map((segment) => segment.text).join('')
    const found = this.#stops.map((stop) => waiting.indexOf(stop)).filter((at) => at >= 0)
    if (found.length === 0) return this.#release(waiting.length - this.#mayBeStop(waiting))
    this.#isOver = true
    return this.#release(Math.min(...found))
  }

  /** How much of the end may be the beginning of a stop string. */
  #mayBeStop(waiting: string): number {
    let longest = 0
    for (const stop of this.#stops) {
      for (let length = Math.min(stop.length - 1, waiting.length); length > longest; length--) {
        if (waiting.endsWith(stop.slice(0, length))) longest = length
      }
    }
    return longest
  }

  #release(count: number): Piece {
    let text = ''
    const entries: TokenEntry[] = []
    for (let left = count; this.#waiting.length > 0; ) {
      const [segment] = this.#waiting as [Segment]
      if (segment.text !== '' && left === 0) break
      const part = segment.text.slice(0, left)
      left -= part.length
      if (segment.entry) entries.push({ ...segment.entry, offset: this.#shown })
      if (!segment.isHidden) {
        text += part
        this.#shown += characters(part)
      }
      const rest = segment.text.slice(part.length)
      this.#waiting.splice(0, 1, ...(rest === '' ? [] : [{ ...segment, text: rest, entry: null }]))
    }
    return { text, entries }
  }
}

const EMPTY: Piece = { text: '', entries: [] }

const joined = (pieces: readonly Piece[]): Piece => ({
  text: pieces.map(({ text }) => text).join(''),
  entries: pieces.flatMap(({ entries }) => entries),
})

/** Code points, which Python's clients count in. */
export const characters = (text: string): number => [...text].length

/** Row `i` of the best tokens, without cells that hold none. */
export function bestAt(topk: TopK | undefined, i: number): { id: number; logprob: number }[] {
  if (!topk) return []
  const { k, ids, logprobs } = topk
  return Array.from({ length: k }, (_, j) => ({
    id: ids[i * k + j] as number,
    logprob: logprobs[i * k + j] as number,
  })).filter(({ logprob }) => Number.isFinite(logprob))
}
