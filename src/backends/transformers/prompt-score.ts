// Collects what is asked about a prompt's own tokens while it is prefilled: their logprobs and the best tokens in their
// place, at temperature 1. Position 0 has nothing before it: NaN.

import type { GenerationEvent, GenerationRequest } from '../backend.ts'
import { type HeadResult, logprob } from './decoder.ts'

export class PromptScore {
  readonly #logprobs: Float32Array | null
  readonly #k: number
  readonly #ids: Int32Array
  readonly #best: Float32Array

  constructor({ prompt, promptLogprobs, topkPromptLogprobs }: GenerationRequest) {
    this.#logprobs = promptLogprobs ? new Float32Array(prompt.length).fill(Number.NaN) : null
    this.#k = topkPromptLogprobs
    this.#ids = new Int32Array(prompt.length * this.#k)
    this.#best = new Float32Array(prompt.length * this.#k).fill(Number.NaN)
  }

  /** Null when nothing is asked. */
  static of(request: GenerationRequest): PromptScore | null {
    return request.promptLogprobs || request.topkPromptLogprobs > 0 ? new PromptScore(request) : null
  }

  /** How many candidates a head row must give. */
  get k(): number {
    return Math.max(1, this.#k)
  }

  /** `row` is the head's answer at the token before `position`, with the token at `position` as target. */
  set(position: number, row: HeadResult): void {
    if (this.#logprobs) this.#logprobs[position] = logprob(row, row.target)
    for (let i = 0; i < this.#k; i++) {
      this.#ids[position * this.#k + i] = row.ids[i] as number
      this.#best[position * this.#k + i] = logprob(row, row.logits[i] as number)
    }
  }

  event(): GenerationEvent {
    return {
      type: 'prompt',
      ...(this.#logprobs && { logprobs: this.#logprobs }),
      ...(this.#k > 0 && { topk: { k: this.#k, ids: this.#ids, logprobs: this.#best } }),
    }
  }
}
