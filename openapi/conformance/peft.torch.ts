// Adapters against the real peft and transformers packages: what PEFT saved says the same here, and what comes out of here
// says the same there.

import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { ModelInput, ServiceClient } from '../../src/client/tinker/index.ts'
import { KEY, pythonEnv } from './sdk-run.ts'
import { type ServerProcess, startServerProcess } from './server-process.ts'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const BASE = join(ROOT, 'src/backends/transformers/goldens/qwen3-tied/checkpoint')
const SCRIPT = fileURLToPath(new URL('sdk/peft_models.py', import.meta.url))
const MODEL = 'org/base'
const TOKENS = [5, 9, 200, 31, 77, 402, 18, 18, 3, 90, 255, 11]
const SETUP_MS = 20 * 60_000

/** Every way in which one adapter's modules may differ. */
const ADAPTERS: Readonly<Record<string, unknown>> = {
  'all attention, plain': { r: 8, lora_alpha: 32, target_modules: ['q_proj', 'k_proj', 'v_proj', 'o_proj'] },
  'two projections of one layer, rank-stabilised': {
    r: 6,
    lora_alpha: 8,
    use_rslora: true,
    target_modules: ['q_proj', 'down_proj'],
    layers_to_transform: [1],
  },
  'ranks and alphas by pattern, with the output projection': {
    r: 4,
    lora_alpha: 16,
    target_modules: ['v_proj', 'up_proj', 'gate_proj', 'lm_head'],
    rank_pattern: { up_proj: 2, lm_head: 3 },
    alpha_pattern: { v_proj: 5 },
  },
}

let folder: string
let python: string
let server: ServerProcess

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'twinkle-peft-'))
  const found = await pythonEnv('sdk-0.38.0-torch')
  if (found === null) throw new Error('no Python >= 3.11 with venv and pip runs here')
  python = found
  server = await startServerProcess({ keys: [KEY], flags: ['--model', `${MODEL}=${BASE}`] })
}, SETUP_MS)
afterAll(async () => {
  await server?.stop()
  rmSync(folder, { recursive: true })
})

const run = promisify(execFile)

async function inPython(...args: string[]): Promise<number[]> {
  const env = { PATH: process.env.PATH, HOME: folder, HF_HUB_OFFLINE: '1' }
  const { stdout } = await run(python, ['-W', 'ignore', SCRIPT, ...args, JSON.stringify(TOKENS)], { env })
  return JSON.parse(stdout)
}

async function twinkle(...args: string[]): Promise<string> {
  const env = { PATH: process.env.PATH, TINKER_BASE_URL: server.url, TINKER_API_KEY: KEY }
  const main = join(ROOT, 'src/cli/main.ts')
  const { stdout } = await run(process.execPath, ['--import', 'tsx', main, ...args], { cwd: ROOT, env })
  return stdout
}

const imported = async (adapter: string) =>
  JSON.parse(await twinkle('adapters', 'import', adapter, '--base-model', MODEL, '--json')).path as string

async function here(modelPath: string): Promise<number[]> {
  const service = new ServiceClient({ baseUrl: server.url, apiKey: KEY })
  const sampler = await service.createSamplingClient({ modelPath })
  return (await sampler.computeLogprobs(ModelInput.fromInts(TOKENS))).slice(1).map(Number)
}

function expectSame(found: number[], wanted: number[]): void {
  expect(found.length).toBe(wanted.length)
  const worst = Math.max(...found.map((x, i) => Math.abs(x - (wanted[i] as number))))
  expect(worst).toBeLessThan(1e-4)
}

describe.each(Object.entries(ADAPTERS))('an adapter on %s', (name, options) => {
  const place = (what: string) => join(folder, `${what}-${Object.keys(ADAPTERS).indexOf(name)}`)
  let wanted: number[]
  let path: string

  it('that PEFT saved says the same here', { timeout: 120_000 }, async () => {
    wanted = await inPython('make', BASE, place('made'), JSON.stringify(options))
    path = await imported(place('made'))
    expectSame(await here(path), wanted)
  })

  it('comes out as a folder that PEFT loads', { timeout: 120_000 }, async () => {
    await twinkle('adapters', 'export', path, place('exported'))
    expectSame(await inPython('peft', BASE, place('exported')), wanted)
  })

  it('is merged into a model that transformers loads', { timeout: 120_000 }, async () => {
    await twinkle('adapters', 'merge', path, place('merged'))
    expectSame(await inPython('plain', place('merged')), wanted)
  })
})

it.each([
  ['use_dora', { use_dora: true }],
  ['bias', { bias: 'lora_only' }],
  ['modules_to_save', { modules_to_save: ['lm_head'] }],
])('an adapter with %s is refused by that name', { timeout: 120_000 }, async (name, options) => {
  const out = join(folder, name)
  await inPython('make', BASE, out, JSON.stringify({ r: 4, target_modules: ['q_proj'], ...options }))
  const refusal = await imported(out).catch(({ stderr }: { stderr: string }) => stderr)
  expect(refusal).toContain(name)
  expect(refusal).toContain('is not supported')
})
