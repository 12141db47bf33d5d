// Progress of a run with a known number of steps: the figure it is about, tokens a second, and the time that is left.

import { ProgressLine, type ProgressTarget } from '../../src/cli/progress.ts'

export class Meter {
  /** The figure of each step so far. */
  readonly values: number[] = []
  readonly #name: string
  readonly #steps: number
  readonly #line: ProgressLine
  readonly #now: () => number
  readonly #start: number
  #tokens = 0

  /** `name` is what the figure is called: loss, reward. */
  constructor(name: string, steps: number, target: ProgressTarget, now: () => number = Date.now) {
    this.#name = name
    this.#steps = steps
    this.#now = now
    this.#start = now()
    this.#line = new ProgressLine(target, now)
  }

  step(value: number, tokens: number): void {
    this.values.push(value)
    this.#tokens += tokens
    const done = this.values.length
    const seconds = Math.max(0.001, (this.#now() - this.#start) / 1000)
    const words = [
      `step ${String(done).padStart(String(this.#steps).length)}/${this.#steps}`,
      `${this.#name} ${value.toFixed(3)}`,
      `${Math.round(this.#tokens / seconds)} tokens/s`,
      done < this.#steps ? `ETA ${((seconds / done) * (this.#steps - done)).toFixed(0)} s` : `${seconds.toFixed(1)} s`,
    ]
    this.#line.update(words.join('  '), done / this.#steps)
    if (done === this.#steps) this.#line.end()
  }
}
