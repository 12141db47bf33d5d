// Reads openapi/components/ for tests: every schema by name, its references as they are written.
// Knows the YAML files only; what is generated from them stands in src/generated/.

import { readdirSync, readFileSync } from 'node:fs'
import { parse } from 'yaml'

export interface Schema {
  readonly $ref?: string
  readonly type?: string | readonly string[]
  readonly enum?: readonly unknown[]
  readonly const?: unknown
  readonly contentEncoding?: string
  readonly items?: Schema
  readonly anyOf?: readonly Schema[]
  readonly required?: readonly string[]
  readonly properties?: Readonly<Record<string, Schema>>
  readonly additionalProperties?: Schema | boolean
}

const folder = new URL('./components/', import.meta.url)

/** Each component file, parsed, by its name. */
export function readComponentFiles(): ReadonlyMap<string, Readonly<Record<string, Schema>>> {
  const names = readdirSync(folder).filter((name) => name.endsWith('.yaml'))
  return new Map(names.map((name) => [name, parse(readFileSync(new URL(name, folder), 'utf8'))]))
}

/** All schemas by name; names are unique over all files. */
export function readSchemas(): Readonly<Record<string, Schema>> {
  return Object.assign({}, ...readComponentFiles().values())
}
