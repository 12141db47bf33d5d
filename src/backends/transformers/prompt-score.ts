// Collects what is asked about a prompt's own positions while it is prefilled: logprobs of its tokens, the best tokens and
// others in their place, draws. All but the draws themselves are at temperature 1. Position 0 has nothing before it: NaN.

import type { GenerationEvent, GenerationRequest } from '../backend.ts'
import { type HeadResult, type HeadRow, logprob } from './decoder.ts'
import { candidatesFor, type Draw, type Drawn } from './drawing.ts'
import { type Key, uniform } from './philox.ts'
import { reportedTemperature } from './sequence.ts'

export class PromptScore {
  /** The first position that something is asked about. */
  readonly from: number
  readonly #request: GenerationRequest
  readonly #key: Key
  readonly #ownFrom: number
  readonly #logprobs: Float32Array | null
  readonly #k: number
  readonly #ids: Int32Array
  readonly #best: Float32Array
  readonly #targets: Float32Array | null
  readonly #draws: number
  readonly #drawnIds: Int32Array
  readonly #drawnLogprobs: Float32Array

  private constructor(request: GenerationRequest, key: Key, from: number) {
    const { prompt, promptLogprobs, topkPromptLogprobs: k, promptTargets, promptDraws = 0 } = request
    this.from = from
    this.#request = request
    this.#key = key
    this.#ownFrom = ownFrom(request)
    this.#logprobs = promptLogprobs ? new Float32Array(prompt.length).fill(Number.NaN) : null
    this.#k = k
    this.#ids = new Int32Array(prompt.length * k)
    this.#best = new Float32Array(prompt.length * k).fill(Number.NaN)
    this.#targets = promptTargets ? new Float32Array(promptTargets.ids.length) : null
    this.#draws = promptDraws
    this.#drawnIds = new Int32Array((prompt.length - 1) * promptDraws)
    this.#drawnLogprobs = new Float32Array((prompt.length - 1) * promptDraws)
  }

  /** Null when nothing is asked. */
  static of(request: GenerationRequest, key: Key): PromptScore | null {
    const { promptTargets, promptDraws = 0 } = request
    const first = promptTargets ? promptTargets.starts.findIndex((start) => start > 0) : -1
    const from = Math.min(
      ownFrom(request),
      promptTargets ? (first < 0 ? request.prompt.length : first) : Number.POSITIVE_INFINITY,
      promptDraws > 0 ? 1 : Number.POSITIVE_INFINITY,
    )
    return from === Number.POSITIVE_INFINITY ? null : new PromptScore(request, key, from)
  }

  /** How many candidates a head row must give at first. */
  candidates(vocabulary: number): number {
    return Math.max(1, this.#k, this.#draws ? candidatesFor(this.#rule, vocabulary) : 0)
  }

  /** What the head is asked at the token before `position`: the token there, then the others to be scored. */
  row(position: number, adapter: string | null): HeadRow {
    const { prompt, promptTargets } = this.#request
    const [start, end] = this.#range(position)
    const others = promptTargets ? promptTargets.ids.subarray(start, end) : []
    const targets = [prompt[position] as number, ...others]
    return { adapter, temperature: this.#draws ? reportedTemperature(this.#request) : 1, targets }
  }

  /** Takes the head's answer to `row(position)`. */
  set(position: number, row: HeadResult): void {
    const [start] = this.#range(position)
    for (let i = 1; i < row.targets.length; i++) {
      if (this.#targets) this.#targets[start + i - 1] = logprob(row, row.targets[i] as number)
    }
    if (position < this.#ownFrom) return
    if (this.#logprobs) this.#logprobs[position] = logprob(row, row.targets[0] as number)
    for (let i = 0; i < this.#k; i++) {
      this.#ids[position * this.#k + i] = row.ids[i] as number
      this.#best[position * this.#k + i] = logprob(row, row.logits[i] as number)
    }
  }

  /** The draws that wait at `position`, from head row `row`. */
  draws(position: number, row: number): Draw[] {
    return Array.from({ length: this.#draws }, (_, i) => ({
      row,
      rule: this.#rule,
      u: uniform(this.#key, i, position, 'promptDraw'),
    }))
  }

  /** Takes what came of draw `i` at `position`. */
  setDrawn(position: number, i: number, { row, choice }: Drawn): void {
    const at = (position - 1) * this.#draws + i
    this.#drawnIds[at] = row.ids[choice] as number
    this.#drawnLogprobs[at] = logprob(row, row.logits[choice] as number)
  }

  get #rule() {
    return { temperature: this.#request.temperature, topK: 0, topP: 1 }
  }

  /** Which of the targets belong to `position`. */
  #range(position: number): readonly [number, number] {
    const starts = this.#request.promptTargets?.starts
    return [starts?.[position - 1] ?? 0, starts?.[position] ?? 0]
  }

  event(): GenerationEvent {
    return {
      type: 'prompt',
      ...(this.#logprobs && { logprobs: this.#logprobs }),
      ...(this.#k > 0 && { topk: { k: this.#k, ids: this.#ids, logprobs: this.#best } }),
      ...(this.#targets && { targets: this.#targets }),
      ...(this.#draws > 0 && { draws: { ids: this.#drawnIds, logprobs: this.#drawnLogprobs } }),
    }
  }
}

/** The first position whose own token, or best tokens, are asked about. */
const ownFrom = ({ promptLogprobs, topkPromptLogprobs, scorePromptFrom = 1 }: GenerationRequest): number =>
  promptLogprobs || topkPromptLogprobs > 0 ? scorePromptFrom : Number.POSITIVE_INFINITY
