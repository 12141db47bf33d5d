// Values for a schema: either they fit it, or here and there stands what an attacker would put instead. Ids of things that
// exist are taken from a pool, for a request about nothing ends at the first look-up.

import fc from 'fast-check'
import type { Schema } from '../../openapi/components.ts'
import { follow } from './documents.ts'

/** Ids that mean something to the server under test, by the name of the field that carries them. */
export type Pool = Readonly<Record<string, readonly (string | number)[]>>

const DEEPEST = 6
/** Fitting values to one strange one, within a value that is strange somewhere. */
const FITTING = 25
const LONG = 'x'.repeat(70_000)

export const PATH_TRICKS = [
  '..',
  '../../../../etc/passwd',
  '..%2f..%2fetc%2fpasswd',
  'a/../../b',
  '/etc/passwd',
  'C:\\windows\\win.ini',
  'weights/..',
  'tinker://../../x/weights/y',
  'tinker:///weights/',
  'tinker://a:train:0/weights/../../b',
  'a\u0000b',
  '.',
  '~',
  'con',
  'a'.repeat(300),
]

const STRANGE = fc.constantFrom<unknown>(
  ...PATH_TRICKS,
  null,
  true,
  '',
  0,
  -1,
  0.5,
  2 ** 31,
  2 ** 53,
  -(2 ** 63),
  1e308,
  -0,
  'NaN',
  '\u{1f600}'.repeat(50),
  '\ud800',
  LONG,
  '__proto__',
  'constructor',
  [],
  {},
  [[[[[[[[[[]]]]]]]]]],
  Object.fromEntries(Array.from({ length: 200 }, (_, i) => [`key${i}`, i])),
  Array(2_000).fill(0),
  { toString: 1, constructor: { prototype: { polluted: true } } },
)

/** Half of them fit, half are strange somewhere. `name` is the field's, by which the pool has ids for it. */
export function valueFor(schema: Schema, pool: Pool, name = ''): fc.Arbitrary<unknown> {
  return fc.oneof(...[false, true].map((strange) => nodeOf(schema, { pool, strange, name, depth: 0 })))
}

interface Place {
  readonly pool: Pool
  readonly strange: boolean
  readonly name: string
  readonly depth: number
}

function nodeOf(schema: Schema, place: Place): fc.Arbitrary<unknown> {
  const fitting = fittingValue(follow(schema), place)
  if (!place.strange) return fitting
  return fc.oneof({ weight: FITTING, arbitrary: fitting }, { weight: 1, arbitrary: STRANGE })
}

function fittingValue(schema: Schema, place: Place): fc.Arbitrary<unknown> {
  const type = typeOf(schema)
  if (type === 'object') return objectOf(schema, place)
  if (type === 'array') return arrayOf(schema, place)
  if (schema.const !== undefined) return fc.constant(schema.const)
  if (schema.enum) return fc.constantFrom(...schema.enum)
  const known = place.pool[place.name]
  if (known) return fc.constantFrom<unknown>(...known)
  const options = schema.anyOf ?? (schema as { oneOf?: Schema[] }).oneOf
  if (options) return fc.oneof(...options.map((each, i) => option(fittingValue(follow(each), place), i)))
  const parts = (schema as { allOf?: Schema[] }).allOf
  if (parts) return fc.tuple(...parts.map((each) => fittingValue(follow(each), place))).map(mergeAll)
  return plain(schema)
}

/** The first is the usual one. */
const option = (arbitrary: fc.Arbitrary<unknown>, i: number) => ({ weight: i === 0 ? 20 : 1, arbitrary })

/** An object with all that it must have; a strange one may lack some of it. */
function objectOf(schema: Schema, place: Place): fc.Arbitrary<unknown> {
  if (place.depth > DEEPEST) return fc.constant({})
  const inside = (name: string) => ({ ...place, name, depth: place.depth + 1 })
  const properties = Object.entries(schema.properties ?? {})
  const fields = properties.map(([name, each]) => {
    const value = nodeOf(each, inside(name))
    const optional = place.pool[name] ? 75 : 25
    const percent = !schema.required?.includes(name) ? optional : place.strange ? 90 : 100
    return [name, sometimes(value, percent)] as const
  })
  const named = fc.record(Object.fromEntries(fields)).map(withoutAbsent)
  const more = schema.additionalProperties
  if (typeof more !== 'object') return named
  const others = fc.dictionary(keyOf(place.pool), nodeOf(more, inside('')), { maxKeys: 4 })
  return fc.tuple(named, others).map(mergeAll)
}

const ABSENT = Symbol('absent')

function sometimes(value: fc.Arbitrary<unknown>, percent: number): fc.Arbitrary<unknown> {
  return fc.oneof({ weight: percent, arbitrary: value }, { weight: 100 - percent, arbitrary: fc.constant(ABSENT) })
}

function withoutAbsent(value: Readonly<Record<string, unknown>>): object {
  return Object.fromEntries(Object.entries(value).filter(([, each]) => each !== ABSENT))
}

const keyOf = (pool: Pool) =>
  fc.oneof(fc.string({ maxLength: 12 }), fc.constantFrom(...((pool.keys ?? ['a']) as string[])))

function arrayOf(schema: Schema, place: Place): fc.Arbitrary<unknown> {
  if (place.depth > DEEPEST) return fc.constant([])
  const item = nodeOf(schema.items ?? {}, { ...place, depth: place.depth + 1 })
  return fc.array(item, { minLength: place.strange ? 0 : 1, maxLength: 6 })
}

/** A scalar of the schema's type, edges of its range more often than the middle. */
function plain(schema: Schema): fc.Arbitrary<unknown> {
  const { minimum, maximum } = schema as { minimum?: number; maximum?: number }
  switch (typeOf(schema)) {
    case 'integer': {
      const least = minimum ?? -3
      const near = fc.integer({ min: least, max: Math.max(least, Math.min(maximum ?? 600, 600)) })
      const far = fc.integer({ min: least, max: Math.max(least, maximum ?? Number.MAX_SAFE_INTEGER) })
      return fc.oneof({ weight: 6, arbitrary: near }, { weight: 1, arbitrary: far })
    }
    case 'number': {
      const { exclusiveMinimum } = schema as { exclusiveMinimum?: number }
      const least = minimum ?? (exclusiveMinimum === undefined ? -2 : exclusiveMinimum + 1e-6)
      const near = fc.double({ min: least, max: maximum ?? 2, noNaN: true })
      const far = fc.double({ min: least, max: maximum ?? 1e300, noNaN: true })
      return fc.oneof({ weight: 6, arbitrary: near }, { weight: 1, arbitrary: far })
    }
    case 'boolean':
      return fc.boolean()
    case 'null':
      return fc.constant(null)
    case 'array':
      return fc.array(fc.integer(), { maxLength: 5 })
    case 'object':
      return fc.dictionary(fc.string({ maxLength: 8 }), fc.jsonValue({ maxDepth: 2 }), { maxKeys: 4 })
    default:
      return fc.oneof(fc.string({ maxLength: 30 }), fc.constantFrom(...PATH_TRICKS))
  }
}

function typeOf({ type, properties }: Schema): string {
  if (properties) return 'object'
  return (Array.isArray(type) ? type.find((each) => each !== 'null') : type) ?? 'string'
}

/** What is not an object by way of a strange value wins over the rest. */
function mergeAll(parts: readonly unknown[]): unknown {
  const strange = parts.find((each) => typeof each !== 'object' || each === null || Array.isArray(each))
  return strange === undefined ? Object.assign({}, ...(parts as object[])) : strange
}
