// Values for a schema: most of them fit it, some are what an attacker would put there instead. Ids of things that exist are
// taken from a pool, for a request about nothing ends at the first look-up.

import fc from 'fast-check'
import type { Schema } from '../../openapi/components.ts'
import { follow } from './documents.ts'

/** Ids that mean something to the server under test, by the name of the field that carries them. */
export type Pool = Readonly<Record<string, readonly (string | number)[]>>

const DEEPEST = 6
const FITTING = 40
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

/** @param name of the field, by which the pool has ids for it */
export function valueFor(schema: Schema, pool: Pool, name = '', depth = 0): fc.Arbitrary<unknown> {
  const fitting = { weight: FITTING, arbitrary: fittingValue(follow(schema), pool, name, depth) }
  return fc.oneof(fitting, { weight: 1, arbitrary: STRANGE })
}

function fittingValue(schema: Schema, pool: Pool, name: string, depth: number): fc.Arbitrary<unknown> {
  const known = pool[name]
  if (known !== undefined) return fc.oneof({ weight: 12, arbitrary: fc.constantFrom<unknown>(...known) }, plain(schema))
  if (schema.const !== undefined) return fc.constant(schema.const)
  if (schema.enum) return fc.constantFrom(...schema.enum)
  const options = schema.anyOf ?? (schema as { oneOf?: Schema[] }).oneOf
  if (options) return fc.oneof(...options.map((each) => fittingValue(follow(each), pool, name, depth)))
  const parts = (schema as { allOf?: Schema[] }).allOf
  if (parts) return fc.tuple(...parts.map((each) => fittingValue(follow(each), pool, name, depth))).map(mergeAll)
  const type = typeOf(schema)
  if (type === 'object') return objectOf(schema, pool, depth)
  if (type === 'array') return arrayOf(schema, pool, name, depth)
  return plain(schema)
}

/** An object with all or some of its fields. */
function objectOf(schema: Schema, pool: Pool, depth: number): fc.Arbitrary<unknown> {
  if (depth > DEEPEST) return fc.constant({})
  const properties = Object.entries(schema.properties ?? {})
  const fields = Object.fromEntries(properties.map(([name, each]) => [name, valueFor(each, pool, name, depth + 1)]))
  const required = (schema.required ?? []).filter((name) => name in fields)
  const whole = fc.record(fields, { requiredKeys: required })
  const partial = fc.record(fields, { requiredKeys: [] })
  const named = fc.oneof({ weight: 12, arbitrary: whole }, { weight: 1, arbitrary: partial })
  const more = schema.additionalProperties
  if (typeof more !== 'object') return named
  const others = fc.dictionary(keyOf(pool), valueFor(more, pool, '', depth + 1), { maxKeys: 4 })
  return fc.tuple(named, others).map(mergeAll)
}

const keyOf = (pool: Pool) =>
  fc.oneof(fc.string({ maxLength: 12 }), fc.constantFrom(...((pool.keys ?? ['a']) as string[])))

function arrayOf(schema: Schema, pool: Pool, name: string, depth: number): fc.Arbitrary<unknown> {
  if (depth > DEEPEST) return fc.constant([])
  return fc.array(valueFor(schema.items ?? {}, pool, name, depth + 1), { maxLength: 6 })
}

/** A scalar of the schema's type, edges of its range more often than the middle. */
function plain(schema: Schema): fc.Arbitrary<unknown> {
  const { minimum, maximum } = schema as { minimum?: number; maximum?: number }
  switch (typeOf(schema)) {
    case 'integer': {
      const least = minimum ?? -3
      const near = fc.integer({ min: least, max: Math.max(least, Math.min(maximum ?? 600, 600)) })
      return fc.oneof({ weight: 4, arbitrary: near }, fc.maxSafeInteger())
    }
    case 'number':
      return fc.oneof(fc.double({ min: -2, max: 2, noNaN: true }), fc.double({ noNaN: true, noDefaultInfinity: true }))
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
