// Checks answers against the contract, for tests that drive a server: does this status and body fit the operation?
// The server itself checks only what it is sent; this is the other half, compiled when a test first asks for it.

import { readFileSync } from 'node:fs'
import { Ajv2020, type ValidateFunction } from 'ajv/dist/2020.js'
import { parse } from 'yaml'
import { type OperationId, operations } from '../src/generated/operations.ts'
import { explainInvalid } from '../src/server/http/explain-invalid.ts'
import { readComponentFiles } from './components.ts'

const base = 'https://contract.invalid/'
const documentFiles = {
  tinker: 'tinker.yaml',
  operator: 'operations.yaml',
  adapters: 'adapters.yaml',
  twinkle: 'twinkle.yaml',
  openai: 'openai.yaml',
} as const
const ajv = createAjv()
const compiled = new Map<string, ValidateFunction | undefined>()

function createAjv(): Ajv2020 {
  const created = new Ajv2020({ strict: false, validateFormats: false })
  for (const [name, schemas] of readComponentFiles())
    created.addSchema({ ...schemas, $id: `${base}components/${name}` })
  for (const name of Object.values(documentFiles)) {
    const document = parse(readFileSync(new URL(name, import.meta.url), 'utf8'))
    created.addSchema({ $id: `${base}${name}`, paths: document.paths })
  }
  return created
}

/**
 * What is wrong with a JSON answer, as a sentence; `undefined` when it fits.
 * An answer whose status the operation does not list is checked as its `default`.
 */
export function problemWithAnswer(id: OperationId, status: number, body: unknown): string | undefined {
  const validate = validatorOf(id, status)
  if (validate === undefined) {
    return body === undefined ? undefined : `${id} has no JSON body with status ${status}`
  }
  if (validate(body)) return undefined
  return `${id} ${status}: ${explainInvalid(validate.errors, body)}`
}

function validatorOf(id: OperationId, status: number): ValidateFunction | undefined {
  const { document: name, path, method } = operations[id]
  const document = `${base}${documentFiles[name]}`
  const responses = ['paths', path, method, 'responses']
  const listed = String(status) in (at(document, responses) as object)
  const pointer = [...responses, listed ? String(status) : 'default']
  const key = pointer.join(' ')
  if (!compiled.has(key)) compiled.set(key, compileAnswer(document, pointer))
  return compiled.get(key)
}

function compileAnswer(document: string, pointer: readonly string[]): ValidateFunction | undefined {
  const response = follow(document, pointer)
  const content = [...response.pointer, 'content', 'application/json', 'schema']
  const reference = `${response.document}#/${content.map(escapeStep).join('/')}`
  return response.hasJson ? ajv.compile({ $ref: reference }) : undefined
}

/** Where an answer stands: in the document itself, or in the component file that it refers to. */
function follow(document: string, pointer: readonly string[]) {
  const answer = at(document, pointer) as { $ref?: string; content?: Record<string, unknown> }
  if (answer.$ref === undefined) return { document, pointer, hasJson: hasJson(answer) }
  const [file, path] = answer.$ref.split('#/')
  const target = { document: `${base}${file}`, pointer: path!.split('/') }
  return { ...target, hasJson: hasJson(at(target.document, target.pointer) as { content?: Record<string, unknown> }) }
}

const hasJson = (answer: { content?: Record<string, unknown> }) => answer.content?.['application/json'] !== undefined

function at(document: string, pointer: readonly string[]): unknown {
  let value: unknown = ajv.schemas[document]?.schema
  for (const step of pointer) value = (value as Record<string, unknown>)[step]
  return value
}

/** A step of a JSON pointer within a URI. */
function escapeStep(step: string): string {
  return encodeURIComponent(step.replaceAll('~', '~0').replaceAll('/', '~1'))
}
