import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import sinon from 'sinon'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { createProgram } from './program.ts'

let stateDir: string
beforeEach(() => {
  stateDir = mkdtempSync(join(tmpdir(), 'twinkle-keys-'))
})
afterEach(() => {
  sinon.restore()
  rmSync(stateDir, { recursive: true })
})

/** What a command prints on stdout and on stderr. */
async function twinkle(...words: string[]): Promise<[string, string]> {
  const printed = { out: '', err: '' }
  const into = (stream: keyof typeof printed) => (text: string | Uint8Array) => {
    printed[stream] += text
    return true
  }
  const out = sinon.stub(process.stdout, 'write').callsFake(into('out'))
  const err = sinon.stub(process.stderr, 'write').callsFake(into('err'))
  try {
    await createProgram().parseAsync(['node', 'twinkle', ...words, '--state-dir', stateDir])
  } finally {
    out.restore()
    err.restore()
  }
  return [printed.out, printed.err]
}

it('makes a key that a script can take from stdout, and shows it never again', async () => {
  const [key, about] = await twinkle('keys', 'create', '--tenant', 'anna', '--label', 'ci', '--expires', '30d')
  expect(key).toMatch(/^tml-[\w-]{43}\n$/)
  expect(about).toMatch(/^key-[0-9a-f]{12}, member of anna, until \d{4}-/)
  const [list] = await twinkle('keys', 'list')
  expect(list).toMatch(/KEY +TENANT +LABEL +ROLE +STATE .*\nkey-[0-9a-f]{12} +anna +ci +member +good /)
  expect(list + (await twinkle('keys', 'list', '--json'))).not.toContain(key.trim())
})

it('replaces and revokes keys', async () => {
  const { id, key } = JSON.parse((await twinkle('keys', 'create', '--tenant', 'anna', '--json'))[0])
  const [next, about] = await twinkle('keys', 'rotate', id, '--grace', '1h')
  expect(next.trim()).not.toBe(key)
  expect(about).toContain(`${id} is good for 1h more`)
  await twinkle('keys', 'revoke', id)
  const { keys } = JSON.parse((await twinkle('keys', 'list', '--json'))[0])
  expect(keys.map((k: { state: string }) => k.state)).toEqual(['revoked', 'good'])
})

it('sets limits of a tenant and shows them', async () => {
  await twinkle('keys', 'create', '--tenant', 'anna')
  const [shown] = await twinkle('tenants', 'set', 'anna', '--weight', '2', '--storage-bytes', '1GiB')
  expect(shown).toMatch(/weight +2 +its own/)
  expect(shown).toMatch(/storage_bytes +1024\.0 MiB +its own +0\.0 MiB/)
  const [again] = await twinkle('tenants', 'set', 'anna', '--weight', 'default', '--storage-bytes', 'none')
  expect(again).toMatch(/weight +1 +default/)
  expect(again).toMatch(/storage_bytes +none +its own/)
  expect((await twinkle('tenants', 'list'))[0]).toMatch(/anna +[0-9a-f]{24} +1 +0 +0\.0 MiB +storage_bytes=none/)
})

it.each([
  [['keys', 'list'], /does not exist/],
  [['keys', 'create', '--tenant', 'anna', '--expires', 'soon'], /--expires cannot be "soon"/],
  [['keys', 'create', '--tenant', 'anna', '--role', 'root'], /--role cannot be "root"/],
  [['tenants', 'set', 'anna', '--adapters', '0'], /--adapters cannot be "0"/],
  [['tenants', 'set', 'anna', '--adapters', '1'], /no tenant anna/],
])('says what is wrong with %j', async (words, sentence) => {
  await expect(twinkle(...words)).rejects.toThrow(sentence)
})
