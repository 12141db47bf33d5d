import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { backendNames, getBackend, loadBackend, registerBackend } from './registry.ts'
import { fakeBackend } from './testing/fake-backend.ts'

function folderWith(name: string, text: string): string {
  const folder = mkdtempSync(join(tmpdir(), 'twinkle-registry-'))
  onTestFinished(() => rmSync(folder, { recursive: true }))
  writeFileSync(join(folder, name), text)
  return folder
}

describe('the registry of backends', () => {
  it('has the embedded backend from the start', () => {
    expect(backendNames()).toEqual(['transformers'])
    expect(getBackend('transformers').name).toBe('transformers')
  })

  it('lists what there is for a name it does not know', () => {
    expect(() => getBackend('transformer')).toThrow('no backend "transformer"; there are: transformers')
  })

  it('takes backends from code', () => {
    const backend = { ...fakeBackend(), name: 'mine' }
    registerBackend(backend)
    expect(getBackend('mine')).toBe(backend)
  })

  it('takes backends from modules', async () => {
    const folder = folderWith('b.mjs', 'export default { name: "loaded", open: async () => { throw new Error("x") } }')
    const backend = await loadBackend('./b.mjs', folder)
    expect(getBackend('loaded')).toBe(backend)
  })

  it.each([
    ['./absent.mjs', '', /absent.mjs cannot be loaded/],
    ['./b.mjs', 'export const name = "no default"', /no default export made by defineBackend/],
    ['./b.mjs', 'throw new Error("breaks on import")', /breaks on import/],
  ])('says what is wrong with module %s', async (specifier, text, sentence) => {
    const failed = loadBackend(specifier, folderWith('b.mjs', text))
    await expect(failed).rejects.toMatchObject({ code: 'BACKEND_NOT_FOUND', message: expect.stringMatching(sentence) })
  })
})
