// Holds the direction of imports that docs/architecture.md draws.

import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, normalize, relative, sep } from 'node:path'
import { describe, expect, it } from 'vitest'

const ROOT = import.meta.dirname

/** What each room of src/ may import besides itself. */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  generated: [],
  formats: [],
  catalogue: ['generated', 'formats'],
  backends: ['formats', 'catalogue'],
  server: ['backends', 'catalogue', 'formats', 'generated'],
  client: ['generated', 'formats'],
  local: ['client', 'server', 'backends', 'catalogue', 'formats', 'generated'],
  patch: ['client', 'generated', 'formats'],
  cli: ['server', 'backends', 'catalogue', 'formats', 'client', 'generated'],
}

const files = readdirSync(ROOT, { recursive: true, encoding: 'utf8' }).filter(
  (file) => /\.(ts|js)$/.test(file) && file.includes(sep) && !file.endsWith('.d.ts'),
)
const isTest = (file: string) => /\.test\.ts$/.test(file) || file.split(sep).includes('testing')

function importsOf(file: string): string[] {
  const source = readFileSync(join(ROOT, file), 'utf8')
  const specifiers = [...source.matchAll(/(?:from|import)\s*\(?\s*'(\.[^']+)'/g)].map((m) => m[1] as string)
  return specifiers.map((s) => relative(ROOT, normalize(join(ROOT, dirname(file), s))))
}

const room = (path: string) => path.split(sep)[0] as string

describe('imports', () => {
  it('knows every room of src', () => {
    expect([...new Set(files.map(room))].filter((r) => !(r in MAY_IMPORT))).toEqual([])
  })

  it('go only the way that the plan of the house allows', () => {
    const wrong = files
      .filter((file) => !isTest(file))
      .flatMap((file) =>
        importsOf(file)
          .filter((target) => room(target) !== room(file) && !target.startsWith('..'))
          .filter((target) => !MAY_IMPORT[room(file)]?.includes(room(target)))
          .map((target) => `${file} imports ${target}`),
      )
    expect(wrong).toEqual([])
  })

  it('bring test helpers into tests only', () => {
    const wrong = files
      .filter((file) => !isTest(file))
      .flatMap((file) =>
        importsOf(file)
          .filter(isTest)
          .map((target) => `${file} imports ${target}`),
      )
    expect(wrong).toEqual([])
  })

  it('keep Node out of the clients, which run in browsers', () => {
    const users = files.filter(
      (file) => room(file) === 'client' && !isTest(file) && /from 'node:/.test(readFileSync(join(ROOT, file), 'utf8')),
    )
    expect(users).toEqual([])
  })

  it('touch onnxruntime in one file', () => {
    const users = files.filter(
      (file) => !isTest(file) && /from 'onnxruntime/.test(readFileSync(join(ROOT, file), 'utf8')),
    )
    expect(users.map((u) => u.replaceAll(sep, '/'))).toEqual(['backends/transformers/runner.ts'])
  })

  it('keep Koa out of the services', () => {
    const inside = ['services', 'scheduler', 'store'].map((folder) => join('server', folder) + sep)
    const wrong = files.filter(
      (file) =>
        inside.some((folder) => file.startsWith(folder)) &&
        /from '(@koa|koa)/.test(readFileSync(join(ROOT, file), 'utf8')),
    )
    expect(wrong).toEqual([])
  })
})
