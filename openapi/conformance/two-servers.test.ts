// The unmodified SDK and two servers on one PostgreSQL database: each of its requests goes to the other one of them, and a
// script notices nothing. A choice of the cases; all of them run against one server.

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { ServerPair } from '../../scripts/crashtest/server-pair.ts'
import { canStartPostgres, type PostgresServer, startPostgres } from '../../src/server/store/testing/postgres-server.ts'
import { pythonEnv, SdkRun } from './sdk-run.ts'

const VERSION = '0.38.0'
/** Fine-tuning, resuming, reinforcement learning; samples polled for together; copies of checkpoints. */
const CASES = ['S1-sft', 'S2-resume', 'S3-rl', 'C97', 'C98']

const python = canStartPostgres() ? await pythonEnv(`sdk-${VERSION}`) : null
if (python === null && process.env.CI === 'true') throw new Error('no Python >= 3.11, or no PostgreSQL, runs here')
let postgres: PostgresServer
let stateDir: string
let pair: ServerPair
let run: SdkRun

beforeAll(async () => {
  if (python === null) return
  postgres = await startPostgres()
  stateDir = await mkdtemp(join(tmpdir(), 'twinkle-two-'))
  pair = await ServerPair.open({ database: postgres.url('postgres'), stateDir }, [])
  const url = await pair.start()
  run = await SdkRun.start({ version: VERSION, python }, { url, stateDir }, CASES)
}, 300_000)

afterAll(async () => {
  if (python === null) return
  await run.stop()
  await pair.destroy()
  await postgres.stop()
  await rm(stateDir, { recursive: true, force: true })
})

it.skipIf(python === null).each(CASES)(
  '%s works with every request at the other server',
  async (id) => {
    const { ok, error } = await run.result(id)
    if (!ok) throw new Error(error)
    expect(pair.passed).toHaveLength(2)
  },
  300_000,
)
