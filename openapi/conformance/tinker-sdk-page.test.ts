// docs/reference/tinker-sdk.md is complete and true: every method and name of the Python SDK has its row, every method in a
// row exists, no method of the TypeScript clients is missing, and the code on the page runs.

import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import * as sdk from '../../src/client/tinker/index.ts'
import { pythonEnv } from './sdk-run.ts'
import { type ServerProcess, startServerProcess } from './server-process.ts'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const SURFACE = join(ROOT, 'src/client/tinker/testing/python-surface.json')
const run = promisify(execFile)
const page = await readFile(join(ROOT, 'docs/reference/tinker-sdk.md'), 'utf8')
const surface = JSON.parse(await readFile(SURFACE, 'utf8')) as {
  readonly methods: Readonly<Record<string, readonly string[]>>
  readonly exports: readonly string[]
}
const { AdminClient, RestClient, SamplingClient, ServiceClient, TrainingClient } = sdk
const CLASSES = { AdminClient, RestClient, SamplingClient, ServiceClient, TrainingClient } as const

/** Rows of the tables of methods: Python, TypeScript, note. */
const rows = page
  .split('\n')
  .filter((line) => /^\| `?\w/.test(line))
  .map((line) => line.split(/(?<!\\)\|/).map((cell) => cell.trim()))
  .map(([, python = '', typescript = '', note = '']) => ({ python, typescript, note }))

const camel = (name: string) => name.replace(/_(\w)/g, (_, letter: string) => letter.toUpperCase())

describe('every method of the Python SDK', () => {
  for (const [method, parameters] of Object.entries(surface.methods)) {
    it(`${method} has a row with all of its parameters`, () => {
      const call = `\`${method.replace('.__init__', '')}(`
      const row = rows.find(({ python }) => python.startsWith(call))
      expect(row, `a row that begins with ${call}`).toBeDefined()
      const { python, typescript, note } = row!
      expect(python).toBe(`${call}${parameters.join(', ')})\``)
      const missing = parameters.filter((name) => !typescript.includes(camel(name)) && !note.includes(`\`${name}\``))
      expect(missing).toEqual([])
    })
  }
})

it('every name that the Python package exports is on the page', () => {
  const names = page.slice(page.indexOf('## Name by name'))
  expect(surface.exports.filter((name) => !names.includes(`\`${name}\``))).toEqual([])
})

describe('every TypeScript method', () => {
  const named = rows.flatMap(({ typescript }) => [...typescript.matchAll(/`(\w+Client)\.(\w+)\(/g)])

  it('that the page names exists', () => {
    const missing = named
      .filter(([, name, method]) => {
        const Class = CLASSES[name as keyof typeof CLASSES]
        return !(method! in Class.prototype) && !(method! in Class)
      })
      .map(([call]) => call)
    expect(named.length).toBeGreaterThan(50)
    expect(missing).toEqual([])
  })

  it('of the clients is named by the page', () => {
    const known = new Set(named.map(([, name, method]) => `${name}.${method}`))
    const own = Object.entries(CLASSES).flatMap(([name, Class]) => {
      const functions = Object.entries(Object.getOwnPropertyDescriptors(Class.prototype)).filter(
        ([, { value }]) => value,
      )
      const statics = Object.getOwnPropertyNames(Class).filter(
        (each) => !['length', 'name', 'prototype'].includes(each),
      )
      return [...functions.map(([method]) => method), ...statics].map((method) => `${name}.${method}`)
    })
    expect(own.filter((method) => !method.endsWith('.constructor') && !known.has(method))).toEqual([])
  })
})

it('the list of the Python SDK is that of the real package', { timeout: 20 * 60_000 }, async ({ skip }) => {
  const python = await pythonEnv('sdk-0.38.0')
  if (python === null) {
    if (process.env.CI === 'true') throw new Error('no Python >= 3.11 with venv and pip runs here')
    return skip('no Python')
  }
  const home = await mkdtemp(join(tmpdir(), 'twinkle-home-'))
  try {
    const env = { PATH: process.env.PATH ?? '', HOME: home, PYTHONDONTWRITEBYTECODE: '1' }
    const script = join(ROOT, 'openapi/conformance/sdk/surface.py')
    const { stdout } = await run(python, ['-W', 'ignore', script], { env })
    expect(JSON.parse(stdout)).toEqual(surface)
  } finally {
    await rm(home, { recursive: true })
  }
})

describe('the code on the page', () => {
  const blocks = [...page.matchAll(/```ts\n([\s\S]*?)```/g)].map(([, code]) => code!)
  let folder: string
  let server: ServerProcess

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'twinkle-page-'))
    server = await startServerProcess()
  })
  afterAll(async () => {
    await server.stop()
    await rm(folder, { recursive: true })
  })

  async function printedBy(index: number): Promise<string[]> {
    const file = join(folder, `block-${index}.mts`)
    const client = join(ROOT, 'src/client/tinker/index.ts')
    const code = blocks[index]!.replaceAll('twinkle-ts/tinker', client).replaceAll('http://127.0.0.1:8000', server.url)
    await writeFile(file, code)
    const { stdout, stderr } = await run(process.execPath, ['--import', 'tsx', file], { cwd: ROOT })
    expect(stderr).toBe('')
    return stdout.trim().split('\n')
  }

  it('trains until the model says what it was taught', async () => {
    const lines = await printedBy(0)
    expect(lines).toHaveLength(21)
    expect(lines.at(-1)).toContain('blue this year')
  })

  it('computes a loss by hand and from operations, and both are the same', async () => {
    const [byHand, ...traced] = await printedBy(1)
    const sum = /'loss:sum': ([\d.]+)/.exec(traced.join(' '))?.[1]
    expect(Number(sum)).toBeCloseTo(Number(byHand), 3)
  })

  it('resumes, lists and passes a sampler on', async () => {
    const lines = await printedBy(2)
    expect(lines.at(-1)).toBe('3')
    expect(lines.join(' ')).toMatch(/train:1.*weights\/first/)
  })

  it('is all of it', () => expect(blocks).toHaveLength(3))
})
