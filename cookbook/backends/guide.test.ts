// The code of docs/guides/write-a-backend.md does what the guide says: every block of it is cut out and run.

import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startServerProcess } from '../../scripts/demo/server-process.ts'
import { backendConformance } from '../../src/backends/backend.conformance.ts'
import { OWN_PACKAGE } from '../../src/backends/own-package.ts'
import { loadBackend } from '../../src/backends/registry.ts'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const BIGRAM = join(import.meta.dirname, 'bigram')
const guide = readFileSync(join(ROOT, 'docs/guides/write-a-backend.md'), 'utf8')
const blocks = [...guide.matchAll(/```(\w+)\n([\s\S]*?)```/g)].map(([, language, code]) => ({ language, code: code! }))
const codeOf = (language: string) => blocks.filter((block) => block.language === language).map(({ code }) => code)
/** Where `twinkle-ts` is installed, none of these is needed. */
const WITH_PACKAGE = ['--import', 'tsx', '--import', OWN_PACKAGE]
const run = (args: string[], env = {}) =>
  promisify(execFile)(process.execPath, args, { cwd: ROOT, env: { ...process.env, ...env } })

let folder: string

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'twinkle-guide-'))
  const [make] = /^node (\S+)/.exec(codeOf('sh')[0]!)!.slice(1)
  await run([make!])
  cpSync(BIGRAM, folder, { recursive: true })
  for (const code of codeOf('js')) {
    const name = /^\/\/ (\S+)\n/.exec(code)![1]!
    writeFileSync(join(folder, name), code.replaceAll('./model', join(BIGRAM, 'model')))
  }
})
afterAll(() => rmSync(folder, { recursive: true }))

/** The kit as the guide has it, with this module in the place of `./backend.mjs`. */
async function kit(backend: string, env = {}): Promise<string> {
  const file = join(folder, 'conformance.test.mjs')
  const other = file.replace('conformance', backend.replace('.mjs', ''))
  writeFileSync(other, readFileSync(file, 'utf8').replace('./backend.mjs', `./${backend}`))
  const { stdout } = await run([...WITH_PACKAGE, '--test', '--test-reporter', 'tap', other], env)
  return stdout
}
const PASSED = new RegExp(`^# pass ${backendConformance.length}$`, 'm')

describe('the guide to backends', () => {
  it('has the example’s configuration', () => {
    const settings = (yaml: string) =>
      yaml
        .split('\n')
        .map((line) => line.replace(/\s*#.*$/, ''))
        .filter(Boolean)
    expect(settings(codeOf('yaml')[0]!)).toEqual(settings(readFileSync(join(BIGRAM, 'server_config.yaml'), 'utf8')))
  })

  it('begins with a module that is a backend, which says why it opens nothing', async () => {
    const backend = await loadBackend('./my-backend.mjs', folder)
    const opening = backend.open({ name: 'x', path: '/x' }, { cacheDir: folder, threads: 0, log: () => {} })
    await expect(opening).rejects.toMatchObject({ code: 'UNSUPPORTED_MODEL' })
  })

  it('serves the example and trains it', { timeout: 120_000 }, async () => {
    const config = /--config (\S+)/.exec(codeOf('sh')[0]!)![1]!
    const server = await startServerProcess(['--config', config, '--state-dir', join(folder, 'state')])
    try {
      const client = join(ROOT, 'src/client/tinker/index.ts')
      const script = join(folder, 'example.mts')
      const code = codeOf('ts')[0]!.replace('twinkle-ts/tinker', client).replace('http://127.0.0.1:8000', server.url)
      writeFileSync(script, code)
      const lines = (await run(['--import', 'tsx', script])).stdout.trim().split('\n')
      const [promised] = /(?<=decode\(.*\) \/\/ )\w+/.exec(code)!
      expect(lines).toHaveLength(21)
      expect(Number(lines[19]!.split(' ')[1])).toBeLessThan(Number(lines[0]!.split(' ')[1]) / 4)
      expect(lines[20]).toBe(promised)
    } finally {
      await server.stop()
    }
  })

  it('tests the example by the kit', { timeout: 120_000 }, async () => {
    expect(await kit('backend.mjs')).toMatch(PASSED)
  })

  it('tests an engine behind a socket by the kit', { timeout: 120_000 }, async () => {
    const host = spawn(process.execPath, [...WITH_PACKAGE, join(folder, 'host.mjs'), '0'], { cwd: ROOT })
    try {
      expect(await kit('far-backend.mjs', { BIGRAM_PORT: await portOf(host) })).toMatch(PASSED)
    } finally {
      host.kill()
    }
  })

  it('quotes the refusal that the example gives', () => {
    expect(readFileSync(join(BIGRAM, 'engine.mjs'), 'utf8')).toContain(codeOf('text')[0]!.trim().split(': ')[1])
  })
})

function portOf(host: ChildProcess): Promise<string> {
  return new Promise((resolve, reject) => {
    host.once('exit', (code) => reject(new Error(`the host ended with code ${code}`)))
    createInterface({ input: host.stdout! }).on('line', (line) => resolve(/ready on (\d+)/.exec(line)![1]!))
  })
}
