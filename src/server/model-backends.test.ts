import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { loadConfig } from './config.ts'
import { modelBackends } from './model-backends.ts'

let folder: string

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'twinkle-backends-'))
  writeFileSync(join(folder, 'mine.mjs'), 'export default { name: "mine", open() {} }')
})

afterAll(() => rmSync(folder, { recursive: true }))

const chosen = async (yaml: string) => {
  const file = join(folder, 'twinkle.yaml')
  writeFileSync(file, yaml)
  return modelBackends((await loadConfig({ cwd: folder, file })).config)
}

describe('model backends', () => {
  it('gives each model the backend it names, and the others the server’s', async () => {
    const backendOf = await chosen('backends: [./mine.mjs]\nmodels: {a: {path: x, backend: mine}, b: y}')
    expect([backendOf('a').name, backendOf('b').name]).toEqual(['mine', 'transformers'])
  })

  it('says which names there are when nobody registered the one that is asked for', async () => {
    const wanted = chosen('backends: [./mine.mjs]\nmodels: {a: {path: x, backend: yours}}')
    await expect(wanted).rejects.toThrow(/no backend "yours"; there are: transformers, mine/)
  })

  it('says which module cannot be loaded', async () => {
    await expect(chosen('backends: [./absent.mjs]')).rejects.toThrow(/absent\.mjs cannot be loaded/)
  })
})
