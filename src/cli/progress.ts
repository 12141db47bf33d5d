// One line of progress: redrawn in place on a terminal, and elsewhere a plain line every few seconds, so that a log stays
// readable. Results do not belong here: they go to stdout.

export interface ProgressTarget {
  readonly isTTY?: boolean
  readonly columns?: number
  write(text: string): unknown
}

const REDRAW_MS = 100
const PLAIN_MS = 5000
const BAR_WIDTH = 24

export class ProgressLine {
  readonly #target: ProgressTarget
  readonly #now: () => number
  #lastAt = Number.NEGATIVE_INFINITY
  #isDrawn = false

  constructor(target: ProgressTarget, now: () => number = Date.now) {
    this.#target = target
    this.#now = now
  }

  /** `share` from 0 to 1. What comes too soon after the last one is left out, but never the last one at 1. */
  update(words: string, share: number): void {
    const pause = this.#target.isTTY ? REDRAW_MS : PLAIN_MS
    if (share < 1 && this.#now() - this.#lastAt < pause) return
    this.#lastAt = this.#now()
    if (!this.#target.isTTY) {
      this.#target.write(`${words}\n`)
      return
    }
    this.#draw(`${bar(share)} ${words}`)
    this.#isDrawn = true
  }

  /** A sentence of its own, above the line. */
  note(sentence: string): void {
    this.end()
    this.#target.write(`${sentence}\n`)
  }

  /** Leaves what was drawn last and goes to the next line. */
  end(): void {
    if (this.#isDrawn) this.#target.write('\n')
    this.#isDrawn = false
  }

  #draw(text: string): void {
    this.#target.write(`\r\u001b[K${text.slice(0, (this.#target.columns || 80) - 1)}`)
  }
}

export function bar(share: number): string {
  const filled = Math.round(Math.min(1, Math.max(0, share)) * BAR_WIDTH)
  return '█'.repeat(filled) + '░'.repeat(BAR_WIDTH - filled)
}
