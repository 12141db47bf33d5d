// The recipes of this folder do what they promise, against a real server process.
import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { type ServerProcess, startServerProcess } from '../../../../scripts/demo/server-process.ts'

const here = fileURLToPath(new URL('.', import.meta.url))
let folder: string
let server: ServerProcess

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'twinkle-cookbook-'))
  server = await startServerProcess(['--config', join(here, 'server_config.yaml'), '--state-dir', folder])
})
afterAll(async () => {
  await server.stop()
  rmSync(folder, { recursive: true })
})

it('lora.ts lowers the loss and changes the answer', { timeout: 120_000 }, async () => {
  const env = { ...process.env, TINKER_BASE_URL: server.url, TINKER_API_KEY: 'tml-cookbook' }
  const run = promisify(execFile)(process.execPath, ['--import', 'tsx', join(here, 'lora.ts')], { env })
  const { stdout } = await run
  const losses = [...stdout.matchAll(/loss ([\d.]+)/g)].map((match) => Number(match[1]))
  expect(losses).toHaveLength(20)
  expect(losses.at(-1)).toBeLessThan(losses[0]! / 4)
  expect(stdout).toMatch(/after: {2}I am Twinkle/)
  expect(stdout).toMatch(/saved: {2}tinker:\/\/.+:train:0\/sampler_weights\/my-name/)
})
