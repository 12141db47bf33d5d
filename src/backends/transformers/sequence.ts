// One sequence being sampled: what was drawn so far and whether it is over. Knows stop rules; nothing of batches.

import { StopStrings } from '../../formats/stop-strings.ts'
import type { Tokenizer } from '../../formats/tokenizer.ts'
import type { GenerationEvent, GenerationRequest, TopK } from '../backend.ts'
import { type HeadResult, logprob, temperedLogprob } from './decoder.ts'
import { type Key, uniform } from './philox.ts'

export type TokenBytes = Pick<Tokenizer, 'tokenBytes'>

/** Temperature that logprobs are reported at: greedy reports the model's own. */
export const reportedTemperature = ({ temperature }: GenerationRequest): number => temperature || 1

export class Sequence {
  readonly index: number
  readonly request: GenerationRequest
  readonly #key: Key
  readonly #stops: StopStrings | null
  readonly #tokens: number[] = []
  readonly #logprobs: number[] = []
  readonly #bestIds: number[] = []
  readonly #bestLogprobs: number[] = []

  constructor(request: GenerationRequest, index: number, key: Key, tokenizer: TokenBytes) {
    this.request = request
    this.index = index
    this.#key = key
    this.#stops = request.stopStrings.length ? new StopStrings(tokenizer, request.stopStrings) : null
  }

  /** The random number of the next token: it depends on seed, sequence and position alone. */
  draw(): number {
    return uniform(this.#key, this.index, this.request.prompt.length + this.#tokens.length)
  }

  get lastToken(): number {
    return this.#tokens.at(-1) as number
  }

  /** Takes candidate `choice` of the row; says why the sequence ends with it, if it does. */
  push(row: HeadResult, choice: number): 'stop' | 'length' | null {
    const token = row.ids[choice] as number
    this.#tokens.push(token)
    const logit = row.logits[choice] as number
    this.#logprobs.push(temperedLogprob(row, logit, reportedTemperature(this.request)))
    for (let i = 0; i < this.request.topkSampleLogprobs; i++) {
      this.#bestIds.push(row.ids[i] as number)
      this.#bestLogprobs.push(logprob(row, row.logits[i] as number))
    }
    const stopped = this.#stops?.push(token) ?? false
    if (stopped || this.request.stopTokens.includes(token)) return 'stop'
    return this.#tokens.length === this.request.maxTokens ? 'length' : null
  }

  /** The whole of it. */
  event(stopReason: 'stop' | 'length'): GenerationEvent {
    return { type: 'sample', index: this.index, ...this.#from(0), stopReason }
  }

  /** The token that it took last. */
  newest(): GenerationEvent {
    const start = this.#tokens.length - 1
    return { type: 'tokens', index: this.index, start, ...this.#from(start) }
  }

  #from(start: number): { tokens: Int32Array; logprobs: Float32Array; topk?: TopK } {
    const { topkSampleLogprobs: k } = this.request
    const tokens = Int32Array.from(this.#tokens.slice(start))
    const logprobs = Float32Array.from(this.#logprobs.slice(start))
    if (k === 0) return { tokens, logprobs }
    const ids = Int32Array.from(this.#bestIds.slice(start * k))
    return { tokens, logprobs, topk: { k, ids, logprobs: Float32Array.from(this.#bestLogprobs.slice(start * k)) } }
  }
}
