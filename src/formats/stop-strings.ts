/**
 * Watches generated tokens for stop strings. Matching is on bytes, so that a string is found wherever token borders
 * fall, also within a character. Knows nothing of sampling: the token that completes a string is the last one.
 */
import type { Tokenizer } from './tokenizer.ts'

export class StopStrings {
  private readonly tokenizer: Pick<Tokenizer, 'tokenBytes'>
  private readonly stops: readonly Buffer[]
  private readonly keep: number
  /** The end of the text so far: one byte less than the longest stop string. */
  private tail = Buffer.alloc(0)

  /** Empty strings would stop before anything is generated: refuse them before they come here. */
  constructor(tokenizer: Pick<Tokenizer, 'tokenBytes'>, stops: readonly string[]) {
    if (stops.includes('')) throw new RangeError('a stop string must not be empty')
    this.tokenizer = tokenizer
    this.stops = stops.map((stop) => Buffer.from(stop, 'utf8'))
    this.keep = Math.max(0, ...this.stops.map((stop) => stop.length - 1))
  }

  /** Takes the next token; true if the text now contains a stop string. The prompt is not to be pushed. */
  push(id: number): boolean {
    const text = Buffer.concat([this.tail, this.tokenizer.tokenBytes(id)])
    if (this.stops.some((stop) => text.includes(stop))) return true
    this.tail = text.subarray(Math.max(0, text.length - this.keep))
    return false
  }
}
