// Readers of single configuration values. Each takes what a flag, an environment variable (text) or a YAML file (typed)
// gave, and returns the value or throws a ConfigError that says what was expected. They know nothing of which setting
// they read: `config.ts` puts the setting's name in front.

import { createHash } from 'node:crypto'
import { isAbsolute, resolve } from 'node:path'
import type { ModelSource } from '../backends/backend.ts'
import { didYouMean } from './nearest.ts'

/** A configuration that cannot be used. `next` says what to do about it. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError'
  readonly next: string
  constructor(message: string, next: string) {
    super(message)
    this.next = next
  }
}

export interface ReadContext {
  /** What relative paths start from: the folder of the configuration file, or the working directory. */
  readonly base: string
}

export type Reader<T> = (value: unknown, context: ReadContext) => T

const SIZE_UNITS: Readonly<Record<string, number>> = { '': 1, KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30 }

/** Thrown by readers; `config.ts` completes the sentence with the setting's name and the value. */
export class ExpectedError extends Error {}

function expected(what: string): never {
  throw new ExpectedError(what)
}

export const text: Reader<string> = (value) =>
  typeof value === 'string' && value.trim() !== '' ? value.trim() : expected('a text that is not empty')

export function integer(min: number, max = Number.MAX_SAFE_INTEGER): Reader<number> {
  const range = max === Number.MAX_SAFE_INTEGER ? `a whole number from ${min}` : `a whole number from ${min} to ${max}`
  return (value) => {
    const number = typeof value === 'string' && /^\d+$/.test(value.trim()) ? Number(value) : value
    return typeof number === 'number' && Number.isInteger(number) && number >= min && number <= max
      ? number
      : expected(range)
  }
}

/** A number of bytes: `1048576`, or with a unit: `1MiB`. */
export function bytes(min: number): Reader<number> {
  return (value) => {
    const match = /^(\d+)\s*(KiB|MiB|GiB)?$/.exec(String(value).trim())
    const size = match ? Number(match[1]) * (SIZE_UNITS[match[2] ?? ''] ?? 1) : Number.NaN
    return Number.isSafeInteger(size) && size >= min
      ? size
      : expected(`a number of bytes from ${min}, with KiB, MiB or GiB behind it if you like`)
  }
}

export const flag: Reader<boolean> = (value) => {
  if (value === true || value === 'true' || value === '1') return true
  if (value === false || value === 'false' || value === '0') return false
  return expected('true or false')
}

export function oneOf<T extends string>(choices: readonly T[]): Reader<T> {
  return (value) => {
    const found = choices.find((choice) => choice === value)
    return found ?? expected(`one of ${choices.join(', ')}${didYouMean(String(value), choices)}`)
  }
}

export const folder: Reader<string> = (value, context) => resolve(context.base, text(value, context))

/** A backend's name, or the path of a module that `defineBackend` made one in. */
export const backend: Reader<string> = (value, context) => {
  const name = text(value, context)
  if (BACKEND.test(name)) return name
  if (isPath(name)) return resolve(context.base, name)
  return expected('the name of a backend, or the path of a module such as ./my-backend.mjs')
}

/** Modules of backends: paths, or names of packages. */
export const modules: Reader<readonly string[]> = (value, context) =>
  listOf(value).map((item) => {
    const specifier = text(item, context)
    return isPath(specifier) ? resolve(context.base, specifier) : specifier
  })

const BACKEND = /^[a-z][\w-]*$/
const isPath = (specifier: string) => /^\.{1,2}\//.test(specifier) || isAbsolute(specifier)

/** `all`, `none`, or names of base models. */
export const selection: Reader<readonly string[] | 'all'> = (value, context) => {
  if (value === 'all') return value
  if (value === 'none') return []
  return listOf(value).map((name) => text(name, context))
}

/** `sqlite`, or the address of a PostgreSQL database; in one form, whatever it was given in. */
export const database: Reader<string> = (value, context) => {
  const address = text(value, context)
  if (address === 'sqlite') return address
  const isPostgres = /^postgres(ql)?:\/\//.test(address) && URL.canParse(address)
  return isPostgres && new URL(address).pathname.length > 1 ? address : expected(DATABASE_FORMS)
}

const DATABASE_FORMS =
  'sqlite, or postgres://user:password@host/name (signs such as @ : / in the password written as %40 %3A %2F)'

/** What of it may be shown: `postgres://anna@db.example.org/twinkle`. */
export function shownDatabase(database: string): string {
  if (database === 'sqlite') return database
  const { protocol, username, host, pathname } = new URL(database)
  return `${protocol}//${username && `${username}@`}${host}${pathname}`
}

/** API keys, kept only as `sha256:<64 hex digits>`. A key that is written in that form already is taken as it is. */
export const keys: Reader<readonly string[]> = (value, context) =>
  listOf(value).map((key) => hashed(text(key, context)))

function hashed(key: string): string {
  if (/^sha256:[0-9a-f]{64}$/i.test(key)) return key.toLowerCase()
  if (key.startsWith('sha256:')) return expected('sha256: followed by 64 hexadecimal digits')
  return `sha256:${createHash('sha256').update(key).digest('hex')}`
}

const NAME = /^[A-Za-z0-9][\w.-]*(\/[A-Za-z0-9][\w.-]*)?$/
const HUB = /^hf:[\w.-]+\/[\w.-]+/

/** A base model, and the backend that is to serve it where that is not the server's. */
export interface ConfiguredModel extends ModelSource {
  readonly backend?: string
}

/**
 * Base models: `NAME=REF` texts, or a mapping NAME: REF or NAME: {path, backend}, or a list of {name, path, backend}. REF is
 * a Hugging Face folder, a `.gguf` file or `hf:org/name`; without NAME= the folder's or the Hub's name is the model's name.
 */
export const models: Reader<readonly ConfiguredModel[]> = (value, context) => {
  const found = modelEntries(value).map((entry) => model(entry, context))
  const twice = found.find((one, index) => found.findIndex((other) => other.name === one.name) !== index)
  return twice ? expected(`every name once; ${twice.name} is there twice`) : found
}

interface ModelEntry {
  readonly name?: unknown
  readonly path: unknown
  readonly backend?: unknown
}

function modelEntries(value: unknown): ModelEntry[] {
  if (isMapping(value)) {
    return Object.entries(value).map(([name, item]) => ({
      name,
      ...(isMapping(item) ? fromMapping(item) : { path: item }),
    }))
  }
  return listOf(value).map((item) => (isMapping(item) ? fromMapping(item) : fromText(item)))
}

function fromMapping(item: Record<string, unknown>): ModelEntry {
  const other = Object.keys(item).find((key) => !['name', 'path', 'backend'].includes(key))
  if (other !== undefined) expected(`models with name, path and backend only, not ${other}`)
  return item as unknown as ModelEntry
}

function fromText(item: unknown): ModelEntry {
  const match = typeof item === 'string' ? /^([^=]*)=(.*)$/.exec(item) : null
  return match ? { name: match[1], path: match[2] } : { path: item }
}

function model(entry: ModelEntry, context: ReadContext): ConfiguredModel {
  if (typeof entry.path !== 'string' || entry.path === '') {
    return expected('NAME=REF, where REF is a Hugging Face folder, a .gguf file or hf:org/name')
  }
  const path = entry.path.startsWith('hf:') ? entry.path : resolve(context.base, entry.path)
  if (path.startsWith('hf:') && !HUB.test(path)) expected('a Hub reference of the form hf:org/name')
  const name = entry.name ?? defaultName(path)
  if (typeof name !== 'string' || !NAME.test(name)) {
    return expected(
      `a model name such as org/name (letters, digits, . _ -, at most one /), not ${JSON.stringify(name)}`,
    )
  }
  return { name, path, ...(entry.backend === undefined ? {} : { backend: backend(entry.backend, context) }) }
}

function defaultName(path: string): string {
  if (path.startsWith('hf:')) return path.slice(3).replace(/@.*/, '').split('/').slice(0, 2).join('/')
  return (path.split(/[\\/]/).filter(Boolean).at(-1) ?? '').replace(/\.gguf$/i, '')
}

function listOf(value: unknown): readonly unknown[] {
  if (Array.isArray(value)) return value
  return typeof value === 'string' ? value.split(',').map((part) => part.trim()) : expected('a list')
}

export function isMapping(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** A mapping as text, for variables: `adapters=4,storage_bytes=10GiB`. `mapping` says what was expected. */
export function pairs(value: unknown, mapping: string): [string, string][] {
  if (typeof value !== 'string') return expected(mapping)
  return value.split(',').map((pair) => {
    const [key = '', ...rest] = pair.split('=')
    return [key.trim(), rest.join('=').trim()]
  })
}
