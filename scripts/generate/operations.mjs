// The table of operations as TypeScript, and types that look an operation's parts up by its id.
// A server that maps RoutedOperationId to handlers does not compile while one is missing or misspelt.

import { header, operationsOf } from './documents.mjs'

export function writeOperations(documents) {
  const operations = operationsOf(documents)
  const files = documents.map(({ file }) => file).join(', ')
  const entries = operations.map((operation) => `  ${operation.id}: ${literal(entry(operation), '  ')},\n`).join('')
  return {
    'operations.ts': [
      header(files),
      imports(documents),
      interfaces(documents),
      `export const operations = {\n${entries}} as const satisfies Record<string, Operation>\n`,
      lookups,
    ].join('\n'),
  }
}

function entry({ document, method, path, aliases, parameters, planned, needsKey, body, answers, id }) {
  const [status, answer] = Object.entries(answers).find(([code]) => code.startsWith('2'))
  const errors = Object.entries(answers).filter(([code]) => code >= '400')
  return {
    id,
    document,
    method,
    path,
    koaPath: koaPath(path, parameters),
    aliases: aliases.map((alias) => koaPath(alias, parameters)),
    planned,
    needsKey,
    hasBody: body !== undefined,
    requestMedia: Object.keys(body ?? {}),
    requestSchema: schemaName(body),
    responseMedia: Object.keys(answer.content ?? {}),
    success: { status: Number(status), schema: schemaName(answer.content) },
    errors: Object.fromEntries(errors.map(([code, error]) => [code, schemaName(error.content)])),
    queryDefaults: queryDefaults(parameters),
  }
}

/** `{a}` becomes `:a`; a parameter of many segments becomes `*a` (path-to-regexp 8). */
function koaPath(path, parameters) {
  const many = new Set(parameters.filter((p) => p['x-twinkle-segments'] === 'many').map((p) => p.name))
  return path.replace(/\{(\w+)\}/g, (_, name) => `${many.has(name) ? '*' : ':'}${name}`)
}

function schemaName(content) {
  const ref = content?.['application/json']?.schema.$ref
  return ref ? ref.split('/').at(-1) : null
}

function queryDefaults(parameters) {
  const withDefault = parameters.filter((p) => p.in === 'query' && p.schema.default !== undefined)
  return Object.fromEntries(withDefault.map((p) => [p.name, p.schema.default]))
}

/** A JavaScript literal in the project's style. */
function literal(value, indent) {
  if (Array.isArray(value)) return `[${value.map((item) => literal(item, indent)).join(', ')}]`
  if (typeof value === 'string') return `'${value}'`
  if (value === null || typeof value !== 'object') return String(value)
  const inner = `${indent}  `
  const lines = Object.entries(value).map(([key, item]) => `${inner}${key}: ${literal(item, inner)},\n`)
  return lines.length === 0 ? '{}' : `{\n${lines.join('')}${indent}}`
}

const pascal = (name) => name[0].toUpperCase() + name.slice(1)

function imports(documents) {
  const lines = documents.map(
    ({ name }) =>
      `import type { components as ${pascal(name)}Components, operations as ${pascal(name)}Operations } from './${name}.ts'\n`,
  )
  return lines.join('')
}

function interfaces(documents) {
  const names = documents.map(({ name }) => `'${name}'`).join(' | ')
  const join = (suffix) => documents.map(({ name }) => `${pascal(name)}${suffix}`).join(' & ')
  return `\
type OperationTypes = ${join('Operations')}

/** Every schema of the documents by name: \`Schemas['Datum']\`. */
export type Schemas = ${documents.map(({ name }) => `${pascal(name)}Components['schemas']`).join(' & ')}

/** The OpenAPI document that an operation stands in. */
export type DocumentName = ${names}

/** What a router has to know of one operation. */
export interface Operation {
  readonly id: string
  readonly document: DocumentName
  readonly method: 'get' | 'head' | 'post' | 'put' | 'patch' | 'delete'
  /** As in the document: \`/api/v1/sessions/{session_id}\`. */
  readonly path: string
  /** As @koa/router 15 wants it: \`/api/v1/sessions/:session_id\`; \`*name\` spans several segments. */
  readonly koaPath: string
  /** Other paths of the same operation (\`x-twinkle-aliases\` of its path), written as \`koaPath\` is. */
  readonly aliases: readonly string[]
  /** Described, but not served yet: it gets a 404 that says so. */
  readonly planned: boolean
  readonly needsKey: boolean
  readonly hasBody: boolean
  readonly requestMedia: readonly string[]
  /** Name of the JSON body's schema. */
  readonly requestSchema: string | null
  readonly responseMedia: readonly string[]
  readonly success: { readonly status: number; readonly schema: string | null }
  /** Name of the schema by status; \`default\` stands for every other one. */
  readonly errors: Readonly<Record<string, string | null>>
  readonly queryDefaults: Readonly<Record<string, string | number | boolean>>
}
`
}

const lookups = `\
type Operations = typeof operations

export type OperationId = keyof Operations

/** Operations that must have a handler, of all documents or of one. */
export type RoutedOperationId<D extends DocumentName = DocumentName> = {
  [K in OperationId]: Operations[K] extends { planned: false; document: D } ? K : never
}[OperationId]

type Content<T> = [T] extends [never] ? undefined : T extends { content: { 'application/json': infer Body } } ? Body : undefined

type ParametersIn<K extends OperationId, Place extends string> = OperationTypes[K] extends {
  parameters: { [P in Place]?: infer Values }
}
  ? unknown extends Values
    ? Record<never, never>
    : NonNullable<Values>
  : Record<never, never>

/** The JSON body of a request; \`undefined\` where there is none. */
export type RequestBody<K extends OperationId> = OperationTypes[K] extends { requestBody?: infer Body }
  ? Content<NonNullable<Body>>
  : undefined

export type PathParams<K extends OperationId> = ParametersIn<K, 'path'>

/** Query parameters after validation: converted, and with the document's defaults filled in. */
export type QueryParams<K extends OperationId> = ParametersIn<K, 'query'> &
  Required<Pick<ParametersIn<K, 'query'>, keyof ParametersIn<K, 'query'> & keyof Operations[K]['queryDefaults']>>

/** The JSON body of a successful answer; \`undefined\` for an empty one and for a body that is not JSON. */
export type SuccessBody<K extends OperationId> = OperationTypes[K] extends { responses: infer Answers }
  ? Content<Answers[keyof Answers & (200 | 201 | 202 | 204)]>
  : never
`
