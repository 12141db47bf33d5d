// docs/guides/twinkle-typescript.md runs as it stands: every block of it, one after another, against one server.

import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { printedBy } from './program.ts'
import { type ServerProcess, startServerProcess } from './server-process.ts'

const page = await readFile(fileURLToPath(new URL('../../docs/guides/twinkle-typescript.md', import.meta.url)), 'utf8')
const blocks = [...page.matchAll(/```ts\n([\s\S]*?)```/g)].map(([, code]) => code as string)
const [here = '', moved = '', goOn = ''] = blocks

let folder: string
let server: ServerProcess
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'twinkle-page-'))
  server = await startServerProcess({ keys: ['tml-me'] })
})
afterAll(async () => {
  await server?.stop()
  await rm(folder, { recursive: true })
})

const printed = (block: string) => printedBy(block.replaceAll('http://127.0.0.1:8000', server.url), folder)
/** The program, with its import changed and the init call added, as the page says. */
const there = `${moved}${here.replace(/^import .*\n/, '')}`

it('trains the same in its own process and on a server', { timeout: 120_000 }, async () => {
  const [local, remote] = [await printed(here), await printed(there)]
  expect(local).toHaveLength(9)
  expect(local.slice(0, 8)).toEqual(remote.slice(0, 8))
  const losses = local.slice(0, 8).map((line) => Number(line.split(' ')[1]))
  expect(losses[7]).toBeLessThan((losses[0] as number) - 1)
  expect(remote[8]).toMatch(/^twinkle:\/\/.*\/weights\/done$/)
})

it('samples from what was trained, and goes on with it', { timeout: 120_000 }, async () => {
  const lines = await printed(goOn)
  expect(lines[0]).toMatch(/I am Tiny/)
  expect(lines.length).toBeGreaterThan(2)
  expect(lines.at(-1)).toBe('steps 8')
})

it('is all of it', () => expect(blocks).toHaveLength(3))
