// The unmodified `twinkle_client` of twinkle-kit against a real server with the embedded model: its whole remote surface but
// for what needs PyTorch on the client's side. twinkle/client.py drives it and prints what it saw; what that has to be is said
// here. Where there is no Python, nothing runs, and under CI that is a failure.

import { execFile } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { EMBEDDED_MODEL } from '../../src/server/config-fields.ts'
import { pythonEnv } from './sdk-run.ts'
import { type ServerProcess, startServerProcess } from './server-process.ts'

const MINUTES = 60_000
const script = (name: string) => fileURLToPath(new URL(`twinkle/${name}.py`, import.meta.url))
const WITHOUT_PEFT = fileURLToPath(new URL('twinkle/without-peft', import.meta.url))

const NO_PYTHON = 'no Python >= 3.11 with venv and pip runs here; `node scripts/python-env.mjs` says what to do'

// biome-ignore lint/suspicious/noExplicitAny: what Python printed
type Seen = any

let server: ServerProcess
let home: string
beforeAll(async () => {
  server = await startServerProcess()
  home = await mkdtemp(join(tmpdir(), 'twinkle-home-'))
}, 2 * MINUTES)
afterAll(async () => {
  await server.stop()
  await rm(home, { recursive: true })
})

async function run(name: string, version: string): Promise<Seen | null> {
  const python = await pythonEnv(`twinkle-${version}`)
  if (python === null) return null
  const env = { PATH: process.env.PATH, HOME: home, PYTHONPATH: WITHOUT_PEFT, PYTHONDONTWRITEBYTECODE: '1' }
  const { stdout } = await promisify(execFile)(python, [script(name), server.url, EMBEDDED_MODEL.name], { env })
  return JSON.parse(stdout.trim().split('\n').at(-1) as string)
}

function checkSampling(sampling: Seen): void {
  expect(sampling).toMatchObject({ count: [2, 2], chosen: true, greedy: expect.stringContaining('My name is Tiny.') })
  for (const stop of sampling.stops) expect(['stop', 'length']).toContain(stop)
  expect(sampling.learned).toHaveLength(sampling.drawn.length)
  // At temperature 1 what was drawn has the same log-probability when it is trained on.
  for (const [i, logprob] of sampling.drawn.entries()) expect(sampling.learned[i]).toBeCloseTo(logprob, 3)
}

describe.each(['0.5.1', '0.4.0', '0.3.0'])('twinkle_client %s', (version) => {
  it('trains, saves, lists, resumes, samples and loads data', { timeout: 10 * MINUTES }, async ({ skip }) => {
    const seen = await run('client', version)
    if (seen === null) {
      if (process.env.CI === 'true') throw new Error(NO_PYTHON)
      skip(NO_PYTHON)
    }
    const { management, training, split, checkpoints, refusals } = seen
    expect(management).toMatchObject({ healthy: true, models: [EMBEDDED_MODEL.name] })

    const { losses, norms, configs } = training
    expect(losses).toHaveLength(12)
    expect(losses.at(-1)).toBeLessThan(losses[0] / 20)
    for (const norm of norms) expect(norm).toMatch(/^\d+\.\d{6}$/)
    expect(configs).toContain('Scheduler: LinearLR')
    expect(configs).toContain('Steps: 12')
    expect(training.metrics).toMatchObject({
      loss: expect.stringMatching(/^\d+\.\d{4}$/),
      grad_norm: expect.stringMatching(/^\d+\.\d{6}$/),
      iters: 12,
    })
    expect(Object.entries(training.metrics).find(([key]) => key.startsWith('learning rate'))?.[1]).toBe('5.000000e-03')

    expect(split.loss).toBe(split.forward)
    const mean = (rows: number[][]) => rows.flat().reduce((a, b) => a + b, 0) / 16
    expect(-mean(split.logps)).toBeCloseTo(split.loss, 5)
    // The base model is where the first step began.
    expect(-mean(split.reference)).toBeCloseTo(losses[0], 3)

    expect(checkpoints).toMatchObject({
      path: `twinkle://${checkpoints.run}/weights/step-12`,
      listed: ['weights/step-12'],
      latest: checkpoints.sampler,
      rank: 8,
      progress: { cur_step: 12, consumed_train_samples: 24, gradient_accumulation_steps: 1 },
      same: true,
      resumed: true,
      state: ['base_model.model.model.layers.0.mlp.down_proj.lora_A.weight'],
      deleted: true,
    })
    expect(checkpoints.sampler).toMatch(/\/sampler_weights\/sampler-/)

    const { sampling, data } = seen
    // The sampler of 0.3.0 needs PyTorch on the client's side.
    if (version === '0.3.0') expect(sampling).toBeNull()
    else checkSampling(sampling)

    expect(data).toMatchObject({ length: 5, batches: [2, 2, 1] })
    expect(data.row.labels).toHaveLength(data.row.input_ids.length)
    expect(data.row.messages.at(-1)).toMatchObject({ content: 'I am Ada.' })

    expect(refusals.loss).toContain('There is no loss "NoSuchLoss". There are: CrossEntropyLoss')
    expect(refusals.patch).toContain('There is no patch SomePatch')
    expect(refusals.load).toContain('There is no checkpoint')
    expect(refusals.hub).toContain('There is no checkpoint twinkle://nobody')
  })
})

describe("Tinker's SDK 0.16.1 after twinkle-kit's own patch", () => {
  it('trains, saves and resumes by a path of either scheme', { timeout: 10 * MINUTES }, async ({ skip }) => {
    const seen = await run('patched', '0.5.1-tinker')
    if (seen === null) {
      if (process.env.CI === 'true') throw new Error(NO_PYTHON)
      skip(NO_PYTHON)
    }
    const { models, losses, path, saved, resumed } = seen
    expect(models).toEqual([EMBEDDED_MODEL.name])
    expect(losses.at(-1)).toBeLessThan(losses[0] / 2)
    expect(path).toMatch(/:\/\/.+\/weights\/patched$/)
    expect(resumed).toBe(saved)
  })
})
