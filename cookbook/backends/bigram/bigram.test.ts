// The backend of this folder is a backend: it passes the conformance kit in this process and as a process of its own.

import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { loadBackend } from '../../../src/backends/registry.ts'
import { conformanceSuite } from '../../../src/backends/testing/conformance-suite.ts'

const folder = mkdtempSync(join(tmpdir(), 'twinkle-bigram-'))
execFileSync(process.execPath, [join(import.meta.dirname, 'make-model.mjs'), folder])
afterAll(() => rmSync(folder, { recursive: true }))
const model = { name: 'cookbook/bigram', path: folder }

conformanceSuite('the bigram backend in this process', async () => {
  const { openEngine } = await import(new URL('./engine.mjs', import.meta.url).href)
  return openEngine(model)
})

conformanceSuite('the bigram backend in a process of its own', async (cacheDir) => {
  const backend = await loadBackend('./backend.mjs', import.meta.dirname)
  return backend.open(model, { cacheDir, threads: 0, log: () => {} })
})

describe('the bigram backend', () => {
  it('refuses a folder of another architecture by name', async () => {
    const { openEngine } = await import(new URL('./engine.mjs', import.meta.url).href)
    const tiny = join(import.meta.dirname, '../../../models/tiny')
    expect(() => openEngine({ name: 'x', path: tiny })).toThrow(/model_type "llama" is not supported; use bigram/)
    expect(() => openEngine({ name: 'x', path: join(folder, 'absent') })).toThrow(/config\.json cannot be read/)
  })
})
