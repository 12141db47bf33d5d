// A backend's module lies anywhere, without an installation beside it, and finds the interface of the server that runs it.

import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterAll, expect, it } from 'vitest'
import { workerArguments } from './child-process.ts'

const folder = mkdtempSync(join(tmpdir(), 'twinkle-own-'))
afterAll(() => rmSync(folder, { recursive: true }))

function run(source: string): string {
  const file = join(folder, 'worker.mjs')
  writeFileSync(file, source)
  return execFileSync(process.execPath, workerArguments(pathToFileURL(file)), { encoding: 'utf8', stdio: 'pipe' })
}

it('a worker from elsewhere has the interface of this package, errors of one class with it', () => {
  const own = JSON.stringify(new URL('./backend.ts', import.meta.url).href)
  const said = run(`
    import { engineError } from 'twinkle-ts/backends'
    const { EngineError } = await import(${own})
    console.log(engineError('INVALID_MODEL', 'gone') instanceof EngineError)`)
  expect(said).toBe('true\n')
})

it('what else a worker imports is found as ever, or not', () => {
  expect(run(`import { join } from 'node:path'; console.log(typeof join)`)).toBe('function\n')
  expect(() => run(`import 'twinkle-ts/absent'`)).toThrow(/Cannot find package 'twinkle-ts'/)
})
