// The limits of a tenant as data: for each one its reader and its line of help. From the names follow the keys under `limits`
// in a configuration file (`storage_bytes`) and the flags of `twinkle tenants set` (`--storage-bytes`), which imports this:
// nothing slow in here.

import { bytes, ExpectedError, integer, isMapping, pairs, type Reader } from './config-values.ts'
import { didYouMean } from './nearest.ts'
import { NO_LIMITS, type TenantLimits } from './services/limits.ts'

export type LimitName = keyof TenantLimits

export interface LimitField<T> {
  readonly read: Reader<T>
  readonly help: string
}

const weight: Reader<number> = (value) => {
  const number = typeof value === 'string' && value.trim() !== '' ? Number(value) : value
  if (typeof number === 'number' && number >= 0.01 && number <= 100) return number
  throw new ExpectedError('a number from 0.01 to 100')
}

/** `none` lifts a limit. */
function orNone(read: Reader<number>): Reader<number | null> {
  return (value, context) => {
    if (value === null || value === 'none') return null
    try {
      return read(value, context)
    } catch (cause) {
      throw cause instanceof ExpectedError ? new ExpectedError(`${cause.message}, or none`) : cause
    }
  }
}

const count = orNone(integer(1))

export const LIMIT_FIELDS: { readonly [K in LimitName]: LimitField<TenantLimits[K]> } = {
  weight: { read: weight, help: 'share of an engine beside other tenants; 2 gets twice the tokens of 1' },
  trainingTokensPerMinute: { read: count, help: 'tokens of training passes a minute; beyond them work waits' },
  samplingTokensPerMinute: { read: count, help: 'tokens of prompts and samples a minute; beyond them samples wait' },
  concurrentSamples: { read: count, help: 'sequences drawn at the same time; more wait' },
  adapters: { read: count, help: 'runs that are not unloaded; one more is refused' },
  storageBytes: { read: orNone(bytes(0)), help: 'bytes of checkpoints; a save beyond them fails' },
  queuedBytes: { read: orNone(bytes(1024)), help: 'bytes of calls that have not ended; more have to come again' },
}

export const LIMIT_NAMES = Object.keys(LIMIT_FIELDS) as LimitName[]

/** `storageBytes` -> `storage_bytes`. */
export function limitKey(name: LimitName): string {
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)
}

/** Reads the setting `limits`: a mapping, or text such as `adapters=4,storage_bytes=10GiB`. What is not named is not limited. */
export const limits: Reader<TenantLimits> = (value, context) => {
  const given = isMapping(value) ? Object.entries(value) : pairs(value, 'a mapping of limits')
  const read = given.map(([key, one]) => {
    const name = LIMIT_NAMES.find((known) => limitKey(known) === key)
    if (name === undefined) throw new ExpectedError(unknownKey(key))
    return [name, readLimit(name, one, context)]
  })
  return { ...NO_LIMITS, ...Object.fromEntries(read) }
}

function readLimit(name: LimitName, value: unknown, context: Parameters<Reader<unknown>>[1]): number | null {
  try {
    return LIMIT_FIELDS[name].read(value, context)
  } catch (cause) {
    throw cause instanceof ExpectedError ? new ExpectedError(`${limitKey(name)} as ${cause.message}`) : cause
  }
}

function unknownKey(key: string): string {
  const names = LIMIT_NAMES.map(limitKey)
  return `limits by the names ${names.join(', ')}; ${key} is none of them${didYouMean(key, names)}`
}
