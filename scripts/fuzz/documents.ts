// What the OpenAPI documents say of each operation, references followed: method, path, parameters, schema of the body. The
// fuzzer takes all of it from here, so that a new operation is fuzzed as soon as it is described.

import { readFileSync } from 'node:fs'
import { parse } from 'yaml'
import { readComponentFiles, type Schema } from '../../openapi/components.ts'

export interface Parameter {
  readonly name: string
  readonly in: 'path' | 'query' | 'header'
  readonly schema: Schema
}

export interface Target {
  readonly id: string
  readonly method: string
  readonly path: string
  readonly parameters: readonly Parameter[]
  /** By media type. */
  readonly bodies: Readonly<Record<string, Schema>>
}

const DOCUMENTS = ['tinker.yaml', 'operations.yaml', 'adapters.yaml', 'openai.yaml', 'twinkle.yaml']
const METHODS = ['get', 'head', 'post', 'put', 'patch', 'delete']
const components = Object.assign({}, ...readComponentFiles().values()) as Record<string, object>

type Described = Record<string, unknown>

/** Names of components are unique over all files, so the last part of a reference is enough. */
export function follow<T extends object>(value: T): T {
  const reference = (value as { $ref?: string }).$ref
  if (reference === undefined) return value
  const name = reference.split('/').at(-1) as string
  const found = components[name]
  if (found === undefined) throw new Error(`${reference} leads nowhere`)
  return follow(found as T)
}

export function readTargets(): Target[] {
  return DOCUMENTS.flatMap((name) => {
    const text = readFileSync(new URL(`../../openapi/${name}`, import.meta.url), 'utf8')
    const { paths } = parse(text) as { paths: Record<string, Described> }
    return Object.entries(paths).flatMap(([path, item]) =>
      METHODS.filter((method) => method in item).map((method) => target(path, method, item)),
    )
  })
}

function target(path: string, method: string, item: Described): Target {
  const operation = item[method] as Described
  const listed = [...((item.parameters ?? []) as object[]), ...((operation.parameters ?? []) as object[])]
  const content = (operation.requestBody as { content?: Record<string, { schema: Schema }> } | undefined)?.content ?? {}
  return {
    id: String(operation.operationId),
    method: method.toUpperCase(),
    path,
    parameters: listed.map((each) => follow(each) as Parameter),
    bodies: Object.fromEntries(Object.entries(content).map(([media, { schema }]) => [media, schema])),
  }
}
