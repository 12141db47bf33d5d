// One hostile request as data: an operation of the documents with parameters, headers and body, each mostly what its schema
// says. It knows HTTP; what an answer means is not known here.

import fc from 'fast-check'
import { GZIP_BOMB, jsonBytes, trainingBytes, ZSTD_BOMB } from './bytes.ts'
import type { Parameter, Target } from './documents.ts'
import { PATH_TRICKS, type Pool, valueFor } from './values.ts'

export interface HostileRequest {
  readonly operation: string
  readonly method: string
  readonly path: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: Buffer | null
}

const JSON_TYPE = 'application/json'
const PROTOBUF = 'application/x-protobuf'
const STRANGE_TYPES = [
  'text/plain',
  'application/xml',
  'application/json; charset=utf-16',
  'multipart/form-data',
  '*/*',
  '',
]
const STRANGE_HEADERS: Readonly<Record<string, string>>[] = [
  { accept: PROTOBUF },
  { accept: 'text/html;q=0.9,*/*;q=0.1' },
  { range: 'bytes=-1' },
  { range: 'bytes=5-1,99999999999999999999-' },
  { expect: '100-continue' },
  { 'accept-encoding': 'zstd, br, gzip;q=0' },
  { 'x-stainless-package-version': '0.3.0' },
  { 'x-stainless-package-version': '99.99.99'.repeat(50) },
  { 'x-request-id': '../../x\t' },
  { 'x-forwarded-host': 'evil.invalid', 'x-forwarded-proto': 'javascript' },
  { 'x-idempotency-key': 'k'.repeat(4000) },
  { 'x-tinker-weights-access-token': 'eyJhbGciOiJub25lIn0.e30.' },
]
const CODED: readonly (readonly [string, Buffer])[] = [
  ['zstd', ZSTD_BOMB],
  ['zstd', Buffer.from([0x28, 0xb5, 0x2f, 0xfd])],
  ['gzip', GZIP_BOMB],
  ['gzip', Buffer.from('no gzip')],
  ['br', Buffer.from('{}')],
  ['zstd, zstd, zstd', ZSTD_BOMB],
]

export interface Keys {
  readonly good: string
  readonly other: string
}

/** Requests to every operation, each as likely as another. */
export function hostileRequests(targets: readonly Target[], pool: Pool, keys: Keys): fc.Arbitrary<HostileRequest> {
  return fc.oneof(...targets.map((target) => requestTo(target, pool, keys)))
}

function requestTo(target: Target, pool: Pool, keys: Keys): fc.Arbitrary<HostileRequest> {
  return fc
    .record({
      path: pathOf(target, pool),
      key: fc.oneof(
        { weight: 20, arbitrary: fc.constant(keys.good) },
        { weight: 3, arbitrary: fc.constant(keys.other) },
        { weight: 1, arbitrary: fc.constantFrom('', 'tml-nobody', 'eyJhbGciOiJub25lIn0.e30.', 'k'.repeat(8000)) },
      ),
      strange: fc.oneof({ weight: 8, arbitrary: fc.constant({}) }, fc.constantFrom(...STRANGE_HEADERS)),
      sent: bodyOf(target, pool),
    })
    .map(({ path, key, strange, sent }) => ({
      operation: target.id,
      method: target.method,
      path,
      headers: { 'x-api-key': key, ...strange, ...sent.headers },
      body: sent.body,
    }))
}

function pathOf({ path, parameters }: Target, pool: Pool): fc.Arbitrary<string> {
  const named = (place: Parameter['in']) => parameters.filter((each) => each.in === place)
  const inPath = fc.tuple(...named('path').map((each) => segment(each, pool)))
  const inQuery = fc.tuple(...named('query').map((each) => queryPart(each, pool)))
  return fc.tuple(inPath, inQuery).map(([segments, parts]) => {
    const filled = named('path').reduce(
      (text, { name }, i) => text.replace(`{${name}}`, () => segments[i] as string),
      path,
    )
    const query = parts.filter((part) => part !== null).join('&')
    return query ? `${filled}?${query}` : filled
  })
}

function segment(parameter: Parameter, pool: Pool): fc.Arbitrary<string> {
  // A model's name and a file's span several segments.
  const spans = (text: string) => encodeURIComponent(text || '-').replaceAll('%2F', '/')
  const fitting = valueFor(parameter.schema, pool, parameter.name).map((value) => spans(safeText(value)))
  // Some are sent as they are: a client need not encode.
  const raw = fc.constantFrom(...PATH_TRICKS).map((text) => encodeURI(text.replaceAll(/[?#]/g, '')))
  return fc.oneof({ weight: 8, arbitrary: fitting }, { weight: 1, arbitrary: raw })
}

function queryPart({ name, schema }: Parameter, pool: Pool): fc.Arbitrary<string | null> {
  const given = valueFor(schema, pool, name).map((value) => `${name}=${encodeURIComponent(safeText(value))}`)
  return fc.option(
    fc.oneof(
      { weight: 10, arbitrary: given },
      given.map((part) => `${part}&${part}`),
    ),
    { freq: 3 },
  )
}

function safeText(value: unknown): string {
  const text = typeof value === 'string' ? value : (JSON.stringify(value) ?? '')
  return Buffer.from(text.slice(0, 2000)).toString() // no lone surrogates: encodeURIComponent throws on them
}

interface Sent {
  readonly headers: Readonly<Record<string, string>>
  readonly body: Buffer | null
}

function bodyOf({ bodies }: Target, pool: Pool): fc.Arbitrary<Sent> {
  const typed = (type: string) => (body: Buffer) => ({ headers: { 'content-type': type }, body })
  const fitting = Object.entries(bodies).map(([media, schema]) =>
    media === PROTOBUF ? trainingBytes(pool).map(typed(media)) : jsonBytes(valueFor(schema, pool)).map(typed(media)),
  )
  const none = fc.constant<Sent>({ headers: {}, body: null })
  if (fitting.length === 0) return none
  const anyOf = fc.oneof(...fitting)
  const coded = fc
    .constantFrom(...CODED)
    .chain(([coding, body]) =>
      fc
        .constantFrom(JSON_TYPE, PROTOBUF)
        .map((type) => ({ headers: { 'content-type': type, 'content-encoding': coding }, body })),
    )
  const mistyped = fc
    .tuple(anyOf, fc.constantFrom(...STRANGE_TYPES, JSON_TYPE, PROTOBUF))
    .map(([{ body }, type]) => ({ headers: { 'content-type': type }, body }))
  return fc.oneof(
    { weight: 60, arbitrary: anyOf },
    { weight: 1, arbitrary: none },
    { weight: 1, arbitrary: coded },
    { weight: 1, arbitrary: mistyped },
  )
}
