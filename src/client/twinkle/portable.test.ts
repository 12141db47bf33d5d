// The native client runs where there is no Node: what it reaches imports no module of Node's, and uses none of its globals.
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { expect, it } from 'vitest'

function reachable(file: URL, seen = new Map<string, string[]>()): Map<string, string[]> {
  if (seen.has(file.href)) return seen
  const source = readFileSync(fileURLToPath(file), 'utf8')
  const imports = source.matchAll(/^(?:import|export)(?! type)[^;'"]*?from\s+['"]([^'"]+)['"]/gm)
  const names = [...imports].map((match) => match[1] as string)
  seen.set(file.href, names)
  for (const name of names) if (name.startsWith('.')) reachable(new URL(name, file), seen)
  return seen
}

const modules = reachable(new URL('./index.ts', import.meta.url))
const codeOf = (file: string) => readFileSync(fileURLToPath(file), 'utf8').replace(/\/\*[\s\S]*?\*\/|(?<!:)\/\/.*/g, '')

it('imports one package, which is made for browsers', () => {
  expect(modules.size).toBeGreaterThan(8)
  expect([...new Set([...modules.values()].flat())].filter((name) => !name.startsWith('.'))).toEqual(['openapi-fetch'])
})

it('uses no global of Node; the environment only where there is one', () => {
  const users = [...modules.keys()].filter((file) =>
    /\b(process\.(?!env\?)|Buffer\b|__dirname|require\()/.test(codeOf(file)),
  )
  expect(users.map((file) => file.slice(file.lastIndexOf('/') + 1))).toEqual([])
})
