// The keyword arguments of one entry of the catalogue, as they came from outside: read one by one, each with its type, range
// and default; what nobody has read is refused by name at the end. Knows no entry.

import { type CatalogueKind, invalidArgument, unknownArgument } from './catalogue-error.ts'

/** As a JSON body gives them. */
export type Kwargs = Readonly<Record<string, unknown>>

/** All ends count: `{ above: 0, atMost: 1 }` is (0, 1]. Numbers are finite in any case. */
export interface Range {
  readonly above?: number
  readonly atLeast?: number
  readonly below?: number
  readonly atMost?: number
}

/** Throws CatalogueError INVALID_ARGUMENT from each reader, UNKNOWN_ARGUMENT from `end`. */
export class Arguments {
  readonly kind: CatalogueKind
  readonly name: string
  readonly #given: Kwargs
  readonly #read = new Set<string>()

  constructor(kind: CatalogueKind, name: string, given: Kwargs) {
    this.kind = kind
    this.name = name
    this.#given = given
  }

  /** A default of `undefined` makes it required, here and below. */
  number(key: string, fallback: number | undefined, range: Range = {}): number {
    return this.#value(key, fallback, isIn(range), `a finite number${inWords(range)}`)
  }
  /** `null` stands for itself, as it does where torch has None. */
  numberOrNull(key: string, fallback: number | null, range: Range = {}): number | null {
    const holds = (value: unknown): value is number | null => value === null || isIn(range)(value)
    return this.#value(key, fallback, holds, `a finite number${inWords(range)}, or null`)
  }
  integer(key: string, fallback: number | undefined, range: Range = {}): number {
    return this.#value(key, fallback, isWholeIn(range), `a whole number${inWords(range)}`)
  }
  integerOrNull(key: string, fallback: number | null, range: Range = {}): number | null {
    const holds = (value: unknown): value is number | null => value === null || isWholeIn(range)(value)
    return this.#value(key, fallback, holds, `a whole number${inWords(range)}, or null`)
  }
  boolean(key: string, fallback: boolean | undefined): boolean {
    return this.#value(key, fallback, (value) => typeof value === 'boolean', 'true or false')
  }
  text(key: string, fallback: string | undefined): string {
    return this.#value(key, fallback, (value) => typeof value === 'string', 'a text')
  }
  textOrNull(key: string, fallback: string | null): string | null {
    const holds = (value: unknown): value is string | null => value === null || typeof value === 'string'
    return this.#value(key, fallback, holds, 'a text, or null')
  }
  choice<const T extends string>(key: string, fallback: T | undefined, choices: readonly T[]): T {
    const holds = (value: unknown): value is T => choices.includes(value as T)
    return this.#value(key, fallback, holds, choices.map((choice) => JSON.stringify(choice)).join(' or '))
  }
  /** @param length Exactly so many; left out: any number of them, up to `MOST_NUMBERS`. */
  numbers(key: string, fallback: readonly number[] | undefined, range: Range = {}, length?: number): readonly number[] {
    const holds = (value: unknown): value is number[] =>
      Array.isArray(value) &&
      (length === undefined ? value.length <= MOST_NUMBERS : value.length === length) &&
      value.every(isIn(range))
    return this.#value(key, fallback, holds, `a list of ${length ?? `up to ${MOST_NUMBERS}`} numbers${inWords(range)}`)
  }
  /** As it came, or undefined; the entry checks it. */
  raw(key: string): unknown {
    this.#read.add(key)
    return this.has(key) ? this.#given[key] : undefined
  }
  /** Taken and left without effect, where others have it for what makes no difference to the numbers. */
  ignore(...keys: readonly string[]): void {
    for (const key of keys) this.#read.add(key)
  }
  /** Only this value can be had here; others are refused by name. */
  only<const T extends number | boolean | null>(key: string, value: T): void {
    this.#value<T>(
      key,
      value,
      (given): given is T => given === value,
      `${value} (or left out): nothing else is done here`,
    )
  }
  has(key: string): boolean {
    return Object.hasOwn(this.#given, key)
  }
  /** For what only the entry can check. */
  refuse(key: string, wanted: string): never {
    throw invalidArgument(this.kind, this.name, key, this.has(key) ? this.#given[key] : null, wanted)
  }

  /** After all have been read. */
  end(): void {
    const unknown = Object.keys(this.#given).find((key) => !this.#read.has(key))
    if (unknown !== undefined) throw unknownArgument(this.kind, this.name, unknown, [...this.#read])
  }

  #value<T>(key: string, fallback: T | undefined, holds: (value: unknown) => value is T, wanted: string): T {
    this.#read.add(key)
    const value = this.has(key) ? this.#given[key] : fallback
    if (!holds(value)) throw invalidArgument(this.kind, this.name, key, value, wanted)
    return value
  }
}

/** A list that is longer is no setting. */
const MOST_NUMBERS = 10_000

function isIn({ above, atLeast, below, atMost }: Range) {
  return (value: unknown): value is number =>
    typeof value === 'number' &&
    Number.isFinite(value) &&
    (above === undefined || value > above) &&
    (atLeast === undefined || value >= atLeast) &&
    (below === undefined || value < below) &&
    (atMost === undefined || value <= atMost)
}

const isWholeIn =
  (range: Range) =>
  (value: unknown): value is number =>
    Number.isSafeInteger(value) && isIn(range)(value)

function inWords({ above, atLeast, below, atMost }: Range): string {
  const low = above !== undefined ? [` above ${above}`] : atLeast !== undefined ? [` of at least ${atLeast}`] : []
  const high = below !== undefined ? [` below ${below}`] : atMost !== undefined ? [` of at most ${atMost}`] : []
  return [...low, ...high].join(' and')
}
