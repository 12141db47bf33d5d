// The TypeScript types of each document, by openapi-typescript.

import openapiTS, { astToString } from 'openapi-typescript'
import { header } from './documents.mjs'

export async function writeTypes(documents) {
  const files = {}
  for (const { name, file, spec } of documents) {
    // A default does not make a field of a request present: what is absent stays absent until a handler fills it in.
    const ast = await openapiTS(structuredClone(spec), { alphabetize: true, defaultNonNullable: false, silent: true })
    files[`${name}.ts`] = `${header(file)}\n${astToString(ast)}`
  }
  return files
}
