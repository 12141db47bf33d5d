// How many tokens a minute tenants may use: a bucket each that holds one minute's worth and fills evenly. What is larger than
// a bucket may go when the bucket is full, and leaves it in debt, so that over time nobody gets more than its rate. Plain
// data; time is passed in, in milliseconds of any clock that does not go back.

const MINUTE = 60_000
/** Less is rounding, in tokens. */
const TOO_LITTLE = 1e-6
/** So many buckets are kept before full ones are thrown away. */
const KEPT = 256

interface Bucket {
  /** Tokens; negative is debt. */
  level: number
  at: number
}

export class Allowance {
  readonly #rateOf: (tenant: string) => number | null
  readonly #buckets = new Map<string, Bucket>()
  #keep = KEPT

  /** `rateOf` gives tokens a minute, null = no limit; it may change at any time. */
  constructor(rateOf: (tenant: string) => number | null) {
    this.#rateOf = rateOf
  }

  rateOf(tenant: string): number | null {
    return this.#rateOf(tenant)
  }

  /** Milliseconds until the tenant may use so many tokens if it uses none before; 0 = now, Infinity = never. */
  waitMs(tenant: string, tokens: number, now: number): number {
    const rate = this.#rateOf(tenant)
    if (rate === null || tokens === 0) return 0
    const missing = Math.min(tokens, rate) - this.#filled(tenant, rate, now).level
    if (rate === 0) return Number.POSITIVE_INFINITY
    return missing > TOO_LITTLE ? Math.ceil((missing / rate) * MINUTE) : 0
  }

  /** Tokens are used; a negative number gives back what was taken too much. */
  take(tenant: string, tokens: number, now: number): void {
    const rate = this.#rateOf(tenant)
    if (rate === null || tokens === 0) return
    const bucket = this.#filled(tenant, rate, now)
    bucket.level = Math.min(rate, bucket.level - tokens)
  }

  #filled(tenant: string, rate: number, now: number): Bucket {
    const known = this.#buckets.get(tenant)
    const bucket = known ?? { level: rate, at: now }
    bucket.level = levelAt(bucket, rate, now)
    bucket.at = now
    if (!known) {
      this.#buckets.set(tenant, bucket)
      if (this.#buckets.size > this.#keep) this.#forget(now)
    }
    return bucket
  }

  /** Full buckets are no different from new ones. */
  #forget(now: number): void {
    for (const [tenant, bucket] of this.#buckets) {
      const rate = this.#rateOf(tenant)
      if (rate === null || levelAt(bucket, rate, now) >= rate) this.#buckets.delete(tenant)
    }
    this.#keep = Math.max(KEPT, 2 * this.#buckets.size)
  }
}

const levelAt = ({ level, at }: Bucket, rate: number, now: number) =>
  Math.min(rate, level + (rate * (now - at)) / MINUTE)
