// Makes src/generated/ from openapi/: types, the table of operations, validators, protobuf code.
// `node scripts/generate.mjs` writes; with `--check` it writes nothing and fails, naming each stale file.
// It knows which files there are and where they go; how each is made stands in scripts/generate/.

import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { readDocuments } from './generate/documents.mjs'
import { writeOperations } from './generate/operations.mjs'
import { writeProto } from './generate/proto.mjs'
import { writeTypes } from './generate/types.mjs'
import { writeValidators } from './generate/validators.mjs'

const root = fileURLToPath(new URL('..', import.meta.url))
const target = join(root, 'src/generated')

/** Every generated file by name; the same input gives the same bytes. */
async function generate() {
  const [documents, proto] = await Promise.all([readDocuments(root), writeProto(root)])
  return {
    ...(await writeTypes(documents)),
    ...writeOperations(documents),
    ...writeValidators(documents),
    ...proto,
  }
}

/** Names of the files that differ from what is committed, are missing, or are there without a reason. */
async function staleFiles(files) {
  const present = await readdir(target).catch(() => [])
  const names = [...new Set([...present, ...Object.keys(files)])].sort()
  const stale = []
  for (const name of names) {
    const committed = await readFile(join(target, name), 'utf8').catch(() => undefined)
    if (committed !== files[name]) stale.push(name)
  }
  return stale
}

const files = await generate()
const stale = await staleFiles(files)

if (process.argv.includes('--check')) {
  for (const name of stale) console.error(`stale: src/generated/${name}`)
  if (stale.length > 0) console.error('Run `npm run generate` and commit what it writes.')
  process.exitCode = stale.length > 0 ? 1 : 0
} else {
  await mkdir(target, { recursive: true })
  for (const name of stale) {
    const content = files[name]
    await (content === undefined ? rm(join(target, name)) : writeFile(join(target, name), content))
    console.log(`${content === undefined ? 'removed' : 'wrote'} src/generated/${name}`)
  }
  if (stale.length === 0) console.log('src/generated is up to date.')
}
