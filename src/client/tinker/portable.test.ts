// The client runs where there is no Node, in a browser for instance: nothing that it reaches imports a module of Node's.
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { expect, it } from 'vitest'

function reachable(file: URL, seen = new Map<string, string[]>()): Map<string, string[]> {
  if (seen.has(file.href)) return seen
  const source = readFileSync(fileURLToPath(file), 'utf8')
  const names = [...source.matchAll(/^(?:import|export)(?! type)[^;'"]*?from\s+['"]([^'"]+)['"]/gm)].map(
    (match) => match[1]!,
  )
  seen.set(file.href, names)
  for (const name of names) if (name.startsWith('.')) reachable(new URL(name, file), seen)
  return seen
}

const modules = reachable(new URL('./index.ts', import.meta.url))

it('uses no global of Node, but for the environment in one file that can do without', () => {
  const uses = (file: string) => /\b(process\.|Buffer\b|__dirname|require\()/.test(withoutComments(new URL(file)))
  const users = [...modules.keys()].filter((file) => file.endsWith('.ts') && uses(file))
  expect(users.map((file) => file.slice(file.lastIndexOf('/') + 1))).toEqual([])
})

function withoutComments(file: URL): string {
  return readFileSync(fileURLToPath(file), 'utf8').replace(/\/\*[\s\S]*?\*\/|\/\/.*/g, '')
}

it('imports nothing of Node', () => {
  const found = [...modules].filter(([, names]) => names.some((name) => name.startsWith('node:')))
  expect(found).toEqual([])
  expect([...modules.keys()].some((file) => file.endsWith('formats/tokenizer.ts'))).toBe(true)
  const packages = new Set([...modules.values()].flat().filter((name) => !name.startsWith('.')))
  expect([...packages].sort()).toEqual(['@huggingface/jinja', '@huggingface/tokenizers', 'protobufjs/minimal.js'])
})
