// Imports every entry of the installed package: runs where it is installed whole, and where it is installed as a client.

import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'

const require = createRequire(import.meta.url)
const { exports } = require('twinkle-ts/package.json')
for (const entry of Object.keys(exports)) {
  const name = `twinkle-ts${entry.slice(1)}`
  if (name.endsWith('.json')) continue
  if (name.endsWith('/*')) readFileSync(require.resolve(name.replace('*', 'tinker.yaml')))
  else if (Object.keys(await import(name)).length === 0) throw new Error(`${name} exports nothing`)
}
