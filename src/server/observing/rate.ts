// How much of something comes a second, lately: older amounts fade with a time constant of half a minute.

const FADE_MS = 30_000

export class Rate {
  #value = 0
  #at = 0

  /** `now` in milliseconds, from a clock that only goes forward. */
  add(amount: number, now: number): void {
    this.#value = this.perSecond(now) + (1000 * amount) / FADE_MS
    this.#at = now
  }

  perSecond(now: number): number {
    return this.#value * Math.exp((this.#at - now) / FADE_MS)
  }
}
