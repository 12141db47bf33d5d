// The TypeScript of the README does what the README promises: it is cut out and run against a real server process.
import { execFile } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { type ServerProcess, startServerProcess } from '../scripts/demo/server-process.ts'

const root = fileURLToPath(new URL('..', import.meta.url))
let folder: string
let server: ServerProcess

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'twinkle-readme-'))
  server = await startServerProcess(['--state-dir', folder])
})
afterAll(async () => {
  await server.stop()
  rmSync(folder, { recursive: true })
})

it('the TypeScript example trains until the model continues the verse', { timeout: 120_000 }, async () => {
  const readme = readFileSync(join(root, 'README.md'), 'utf8')
  const code = /```ts\n([\s\S]*?)```/.exec(readme)?.[1] ?? ''
  const script = join(folder, 'example.mts')
  const client = join(root, 'src/client/tinker/index.ts')
  writeFileSync(script, code.replace('twinkle-ts/tinker', client).replace('http://127.0.0.1:8000', server.url))
  const { stdout } = await promisify(execFile)(process.execPath, ['--import', 'tsx', script], { cwd: root })
  const lines = stdout.trim().split('\n')
  expect(lines).toHaveLength(21)
  expect(Number(lines[19]?.split(' ')[1])).toBeLessThan(Number(lines[0]?.split(' ')[1]) / 10)
  expect(lines[20]).toContain('little star')
})
