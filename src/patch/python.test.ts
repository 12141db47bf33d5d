// The Python patch, installed by pip as a user does, with real SDKs of four ages against a real server. A proxy between
// them notes what is sent.

import { execFile } from 'node:child_process'
import { cp, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { pythonEnv } from '../../openapi/conformance/sdk-run.ts'
import { type ServerProcess, startServerProcess } from '../../openapi/conformance/server-process.ts'
import { type Heard, listenBefore } from './testing/listening-proxy.ts'

const PACKAGE = fileURLToPath(new URL('python', import.meta.url))
const SCRIPT = fileURLToPath(new URL('testing/patched.py', import.meta.url))
const NO_PYTHON = 'no Python >= 3.11 with venv and pip runs here; `node scripts/python-env.mjs` says what to do'
const SETUP_MS = 10 * 60_000
const IDENTITY = ['x-request-id', 'x-ray-serve-request-id', 'serve_multiplexed_model_id', 'serve-multiplexed-model-id']

interface Said {
  readonly before: string
  readonly trained: { readonly losses: readonly number[]; readonly loaded: number; readonly sampled: number }
  readonly wrapped_once: boolean
  readonly parsed: string
  readonly runs: number
  readonly restored: boolean
  readonly after: string
}

const run = promisify(execFile)

describe.each(['0.14.0', '0.16.1', '0.24.1', '0.38.0'])('twinkle_compat with the Tinker SDK %s', (version) => {
  let server: ServerProcess | undefined
  let folder: string
  let said: Said
  let heard: readonly Heard[]

  beforeAll(async () => {
    const python = await pythonEnv(`sdk-${version}`)
    if (python === null && process.env.CI === 'true') throw new Error(NO_PYTHON)
    if (python === null) return
    folder = await mkdtemp(join(tmpdir(), 'twinkle-patch-'))
    // pip leaves what it builds beside the sources.
    const copy = join(folder, 'source')
    const installed = join(folder, 'installed')
    await cp(PACKAGE, copy, { recursive: true })
    await run(python, ['-m', 'pip', '--disable-pip-version-check', 'install', '-q', '--target', installed, copy])
    server = await startServerProcess()
    const proxy = await listenBefore(server.url)
    const { PATH = '' } = process.env
    const env = { PATH, HOME: folder, PYTHONPATH: installed, SERVER: proxy.host, PYTHONDONTWRITEBYTECODE: '1' }
    const { stdout } = await run(python, ['-W', 'ignore', SCRIPT], { env })
    said = JSON.parse(stdout) as Said
    heard = proxy.heard
    await proxy.stop()
  }, SETUP_MS)

  afterAll(async () => {
    await server?.stop()
    if (folder) await rm(folder, { recursive: true, force: true })
  })

  /** A test that has something to look at. */
  const sees = (name: string, look: () => void) => it(name, ({ skip }) => (server ? look() : skip(NO_PYTHON)))

  sees('trains, saves, loads and samples with a key without a prefix and with twinkle:// paths', () => {
    const { losses, loaded, sampled } = said.trained
    expect(losses[1]).toBeLessThan(losses[0] as number)
    expect(loaded).toBe(losses[1])
    expect(sampled).toBeGreaterThan(0)
    expect(said.parsed).toBe('twinkle://run/weights/a')
    expect(said.runs).toBe(1)
  })

  sees('is what makes the difference, once however often it is called, and can be taken back', () => {
    expect(said.before).toMatch(/tml-/)
    expect(said.wrapped_once).toBe(true)
    expect(said.restored).toBe(true)
    expect(said.after).toBe(said.before)
  })

  sees('sends the real key and the identity of one process with every request', () => {
    const api = heard.filter(({ path }) => path.startsWith('/api/v1/'))
    expect(api.length).toBeGreaterThan(10)
    expect(heard).toHaveLength(api.length)
    const keys = new Set(api.map(({ headers }) => headers['x-api-key']))
    expect(keys).toEqual(new Set(['no-prefix', 'from-the-environment']))
    for (const { headers } of api) {
      expect(headers.authorization).toBe(`Bearer ${headers['x-api-key']}`)
      expect(headers['twinkle-authorization']).toBe(headers.authorization)
    }
    const ids = new Set(api.flatMap(({ headers }) => IDENTITY.map((name) => headers[name])))
    expect(ids.size).toBe(1)
    expect([...ids][0]).toMatch(/^\d{8}_\d{6}-[0-9a-f]{8}$/)
  })
})
