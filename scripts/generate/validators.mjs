// Validators compiled ahead of time by ajv (dialect 2020): one module for JSON bodies, one for query and path parameters.
// Bodies are only checked. Query parameters arrive as text, so theirs convert and fill in defaults.

import { Ajv2020 } from 'ajv/dist/2020.js'
import standaloneCode from 'ajv/dist/standalone/index.js'
import { header, operationsOf } from './documents.mjs'

export function writeValidators(documents) {
  const operations = operationsOf(documents)
  const files = documents.map(({ file }) => file).join(', ')
  const bodies = Object.fromEntries(
    operations.map((operation) => [operation.id, bodySchema(operation)]).filter(hasSchema),
  )
  const queries = parameterSchemas(operations, 'query')
  const paths = parameterSchemas(operations, 'path')
  const suffixed = (schemas, suffix) => Object.fromEntries(Object.entries(schemas).map(([id, s]) => [id + suffix, s]))
  const parameters = { ...suffixed(queries, 'Query'), ...suffixed(paths, 'Path') }

  return {
    ...rawModule('body-validators', compile(documents, bodies, {}), Object.keys(bodies), files),
    ...rawModule(
      'parameter-validators',
      compile(documents, parameters, { coerceTypes: true, useDefaults: true }),
      Object.keys(parameters),
      files,
    ),
    'validators.ts': facade(files, Object.keys(bodies), Object.keys(queries), Object.keys(paths)),
  }
}

const hasSchema = ([, schema]) => schema !== undefined

function bodySchema({ document, body }) {
  const schema = body?.['application/json']?.schema
  return schema && absolute(schema, document)
}

function parameterSchemas(operations, place) {
  const schemas = operations.map(({ id, document, parameters }) => {
    const here = parameters.filter((p) => p.in === place)
    const properties = Object.fromEntries(here.map((p) => [p.name, absolute(p.schema, document)]))
    const required = here.filter((p) => p.required).map((p) => p.name)
    return [id, here.length === 0 ? undefined : { type: 'object', properties, required }]
  })
  return Object.fromEntries(schemas.filter(hasSchema))
}

/** A schema whose references name their document. */
function absolute(schema, document) {
  return schema.$ref ? { $ref: `${document}${schema.$ref}` } : schema
}

/** One ES module that exports a validator for each schema. */
function compile(documents, schemas, options) {
  const ajv = new Ajv2020({
    ...options,
    code: { source: true, esm: true, lines: true },
    strict: false,
    validateFormats: false,
    messages: false,
    inlineRefs: false,
  })
  for (const { name, spec } of documents) ajv.addSchema({ $id: name, components: spec.components })
  const ids = Object.entries(schemas).map(([id, schema]) => {
    ajv.addSchema({ $id: `validate-${id}`, ...schema })
    return [id, `validate-${id}`]
  })
  return withRequire(standaloneCode.default(ajv, Object.fromEntries(ids)))
}

/** ajv writes `require` into ES modules too, where it does not exist by itself. */
function withRequire(code) {
  const prelude = "import { createRequire } from 'node:module';\n\nconst require = createRequire(import.meta.url);\n"
  return `${prelude}${code.replace('"use strict";', '')}\n`
}

function rawModule(name, code, ids, files) {
  const declarations = ids.map((id) => `export declare const ${id}: RawValidator\n`).join('')
  return {
    [`${name}.js`]: `${header(files)}${code}`,
    [`${name}.d.ts`]: `${header(files)}
import type { ErrorObject } from 'ajv'

interface RawValidator {
  (data: unknown): boolean
  errors?: ErrorObject[] | null
}

${declarations}`,
  }
}

function facade(files, bodies, queries, paths) {
  const map = (name, type, ids, module, suffix) => `\
export const ${name}: { readonly [K in OperationId]?: Validator<${type}<K>> } = {
${ids.map((id) => `  ${id}: ${module}.${id}${suffix} as Validator<${type}<'${id}'>>,\n`).join('')}}
`
  return `${header(files)}
import type { ErrorObject } from 'ajv'
import * as body from './body-validators.js'
import type { OperationId, PathParams, QueryParams, RequestBody } from './operations.ts'
import * as parameters from './parameter-validators.js'

/** True when the data has the shape of the document. When false, \`errors\` says why, until the next call. */
export interface Validator<T> {
  (data: unknown): data is T
  errors?: ErrorObject[] | null
}

/** JSON bodies; the value is only read. */
${map('bodyValidators', 'RequestBody', bodies, 'body', '')}
/** Query parameters; the object is changed: text becomes numbers, defaults are filled in. */
${map('queryValidators', 'QueryParams', queries, 'parameters', 'Query')}
/** Path parameters. */
${map('pathValidators', 'PathParams', paths, 'parameters', 'Path')}`
}
