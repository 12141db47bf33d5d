/**
 * Typed reading of the fields of a JSON object from a file: absent and null mean the default, a value of the wrong
 * kind is an error that names file, field and value. Knows no format.
 */
import { corrupt } from './format-error.ts'

export class JsonFields {
  readonly file: string
  private readonly json: Record<string, unknown>
  private readonly prefix: string

  constructor(file: string, json: Record<string, unknown>, prefix = '') {
    this.file = file
    this.json = json
    this.prefix = prefix
  }

  /** Present and not null. */
  has(name: string): boolean {
    return this.value(name) !== undefined
  }

  /** Present and null, where that means something else than absent. */
  isNull(name: string): boolean {
    return Object.hasOwn(this.json, name) && this.json[name] === null
  }

  /** A whole number of at least 1. */
  size(name: string, fallback?: number): number {
    return this.read(name, fallback, 'a whole number of at least 1', (value): value is number => {
      return Number.isSafeInteger(value) && (value as number) >= 1
    })
  }

  positive(name: string, fallback?: number): number {
    return this.read(name, fallback, 'a positive number', (value): value is number => {
      return typeof value === 'number' && Number.isFinite(value) && value > 0
    })
  }

  text(name: string, fallback?: string): string {
    return this.read(name, fallback, 'a string', (value): value is string => typeof value === 'string')
  }

  flag(name: string, fallback?: boolean): boolean {
    return this.read(name, fallback, 'true or false', (value): value is boolean => typeof value === 'boolean')
  }

  child(name: string): JsonFields | undefined {
    const value = this.value(name)
    if (value === undefined) return undefined
    if (!isObject(value)) throw this.wrong(name, 'an object')
    return new JsonFields(this.file, value, `${this.prefix}${name}.`)
  }

  /** One id, a list of ids, or nothing. */
  tokenIds(name: string): number[] {
    const value = this.value(name)
    if (value === undefined) return []
    const ids: unknown[] = Array.isArray(value) ? value : [value]
    if (!ids.every((id) => Number.isSafeInteger(id) && (id as number) >= 0))
      throw this.wrong(name, 'a token id or a list')
    return ids as number[]
  }

  /** String values of an object, e.g. a pattern table; `kind` says in words what `accept` takes. */
  table<T>(name: string, kind: string, accept: (value: unknown) => value is T): Map<string, T> {
    const value = this.value(name)
    if (value === undefined) return new Map()
    if (!isObject(value)) throw this.wrong(name, 'an object')
    for (const entry of Object.values(value))
      if (!accept(entry)) throw this.wrong(name, `an object whose values are ${kind}`)
    return new Map(Object.entries(value) as [string, T][])
  }

  /** The raw value; undefined where absent or null. */
  value(name: string): unknown {
    return Object.hasOwn(this.json, name) ? (this.json[name] ?? undefined) : undefined
  }

  wrong(name: string, kind: string): Error {
    return corrupt(
      this.file,
      `"${this.prefix}${name}" is ${JSON.stringify(this.value(name)) ?? 'missing'}, expected ${kind}`,
    )
  }

  private read<T>(name: string, fallback: T | undefined, kind: string, accept: (value: unknown) => value is T): T {
    const value = this.value(name)
    if (value === undefined && fallback !== undefined) return fallback
    if (!accept(value)) throw this.wrong(name, kind)
    return value
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return value !== null && typeof value === 'object' && !Array.isArray(value)
}

/** The object in a file's bytes. Throws FormatError, naming the file. */
export function parseJsonObject(file: string, bytes: Uint8Array): Record<string, unknown> {
  let value: unknown
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
  } catch (cause) {
    throw corrupt(file, `is not valid JSON (${(cause as Error).message})`, cause)
  }
  if (value === null || typeof value !== 'object' || Array.isArray(value)) throw corrupt(file, 'is not a JSON object')
  return value as Record<string, unknown>
}
