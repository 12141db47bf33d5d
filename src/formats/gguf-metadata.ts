/**
 * Typed reading of GGUF metadata: a missing key without a fallback or a value of the wrong kind is an error that names
 * file and key. Knows no key.
 */
import { corrupt } from './format-error.ts'
import type { GgufValue } from './gguf.ts'

export class GgufMetadata {
  readonly file: string
  private readonly values: ReadonlyMap<string, GgufValue>

  constructor(file: string, values: ReadonlyMap<string, GgufValue>) {
    this.file = file
    this.values = values
  }

  text(key: string, fallback?: string): string {
    const value = this.values.get(key) ?? fallback
    if (typeof value !== 'string') throw this.wrong(key, 'a string')
    return value
  }

  flag(key: string, fallback: boolean): boolean {
    const value = this.values.get(key) ?? fallback
    if (typeof value !== 'boolean') throw this.wrong(key, 'true or false')
    return value
  }

  number(key: string, fallback?: number): number {
    const value = this.values.get(key) ?? fallback
    const number = typeof value === 'bigint' ? Number(value) : value
    if (typeof number !== 'number' || !Number.isFinite(number)) throw this.wrong(key, 'a number')
    return number
  }

  /** A whole number of at least 1. */
  size(key: string, fallback?: number): number {
    const number = this.number(key, fallback)
    if (!Number.isSafeInteger(number) || number < 1) throw this.wrong(key, 'a whole number of at least 1')
    return number
  }

  texts(key: string): string[] {
    const value = this.values.get(key)
    if (!Array.isArray(value) || value.some((entry) => typeof entry !== 'string'))
      throw this.wrong(key, 'a list of strings')
    return value as string[]
  }

  numbers(key: string): number[] {
    const value = this.values.get(key)
    if (!Array.isArray(value) || value.some((entry) => typeof entry !== 'number'))
      throw this.wrong(key, 'a list of numbers')
    return value as number[]
  }

  has(key: string): boolean {
    return this.values.has(key)
  }

  private wrong(key: string, kind: string): Error {
    const value = this.values.get(key)
    const found = value === undefined ? 'missing' : Array.isArray(value) ? `a list of ${value.length}` : String(value)
    return corrupt(this.file, `metadata "${key}" is ${found}, expected ${kind}`)
  }
}
