// Between the wire's names and TypeScript's: `lora_rank` and `loraRank`, in types and in values. Keys that are data and not
// names, such as those of user metadata, stay as they are.

type CamelName<S extends string> = S extends `${infer Head}_${infer Tail}` ? `${Head}${Capitalize<CamelName<Tail>>}` : S

/** The type of `camelized(value)`. */
export type Camelized<T> = T extends readonly (infer Item)[]
  ? readonly Camelized<Item>[]
  : T extends object
    ? { readonly [K in keyof T as K extends string ? CamelName<K> : K]: Camelized<T[K]> }
    : T

/** Members whose value has keys of its own, by either spelling. */
const MAPS = new Set(['user_metadata', 'userMetadata', 'urls', 'event_details'])
/** Members that may be records by id: the ids stay, the records do not. */
const BY_ID = new Set(['sessions'])

export function camelized<T>(value: T): Camelized<T> {
  return renamed(value, (name) =>
    name.replace(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase()),
  ) as Camelized<T>
}

/** The other way, for requests. */
export function snaked(value: unknown): unknown {
  return renamed(value, (name) => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`))
}

function renamed(value: unknown, rename: (name: string) => string): unknown {
  if (Array.isArray(value)) return value.map((item) => renamed(item, rename))
  if (typeof value !== 'object' || value === null) return value
  return mapped(value, rename, (inner, name) => {
    if (MAPS.has(name)) return inner
    const isById = BY_ID.has(name) && typeof inner === 'object' && inner !== null && !Array.isArray(inner)
    return isById
      ? mapped(
          inner,
          (id) => id,
          (record) => renamed(record, rename),
        )
      : renamed(inner, rename)
  })
}

function mapped(
  value: object,
  rename: (name: string) => string,
  convert: (inner: unknown, name: string) => unknown,
): Record<string, unknown> {
  return Object.fromEntries(Object.entries(value).map(([name, inner]) => [rename(name), convert(inner, name)]))
}
