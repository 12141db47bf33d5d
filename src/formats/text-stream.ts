/**
 * Text of tokens as they come: each push gives what can be shown already, a character cut between tokens waits for its
 * rest. Joined together the pieces are the decoded text.
 */
import type { Tokenizer } from './tokenizer.ts'

export class TextStream {
  private readonly tokenizer: Pick<Tokenizer, 'tokenBytes' | 'specialIds'>
  private readonly decoder = new TextDecoder('utf-8', { ignoreBOM: true })

  constructor(tokenizer: Pick<Tokenizer, 'tokenBytes' | 'specialIds'>) {
    this.tokenizer = tokenizer
  }

  /** Special tokens add nothing. */
  push(id: number): string {
    if (this.tokenizer.specialIds.has(id)) return ''
    return this.decoder.decode(this.tokenizer.tokenBytes(id), { stream: true })
  }

  /** What is left when no more tokens come: U+FFFD for a character without its end. */
  end(): string {
    return this.decoder.decode()
  }
}
