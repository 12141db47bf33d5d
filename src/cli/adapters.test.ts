// Adapters through a real server with the real engine: what goes in, comes out and is merged gives the same numbers.

import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pino } from 'pino'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { ModelInput, ServiceClient } from '../client/tinker/index.ts'
import { openModelSource } from '../formats/model-folder.ts'
import { adaptableModules } from '../formats/model-tensors.ts'
import { type LoraPair, writePeftAdapter } from '../formats/peft.ts'
import { loadConfig } from '../server/config.ts'
import { type RunningServer, startServer } from '../server/server.ts'
import { exportAdapter, importAdapter, mergeAdapter } from './adapters.ts'

const BASE = join(import.meta.dirname, '../backends/transformers/goldens/llama-tied/checkpoint')
const SHAPES = adaptableModules(openModelSource(BASE).config)
const TOKENS = [5, 9, 200, 31, 77, 402, 18]
const PROMPT = ModelInput.fromInts(TOKENS)

let folder: string
let server: RunningServer
const said: string[] = []

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'twinkle-adapters-'))
  vi.spyOn(process.stdout, 'write').mockImplementation((text) => said.push(String(text)) > 0)
  server = await serve(BASE)
})
afterAll(async () => {
  vi.restoreAllMocks()
  await server.close()
  rmSync(folder, { recursive: true })
})

async function serve(model: string): Promise<RunningServer> {
  const flags = { stateDir: mkdtempSync(join(folder, 'state-')), port: 0, models: [`org/base=${model}`] }
  const { config } = await loadConfig({ flags, env: {} })
  const models = config.models.filter(({ name }) => name === 'org/base')
  return startServer({ ...config, models }, pino({ level: 'silent' }))
}

const service = (url = server.url) => new ServiceClient({ baseUrl: url, apiKey: 'tml-local' })

async function logprobsOf(source: { modelPath: string } | { baseModel: string }, url?: string): Promise<number[]> {
  const client = service(url)
  const sampler = await client.createSamplingClient(source)
  const logprobs = await sampler.computeLogprobs(PROMPT)
  return logprobs.slice(1).map(Number)
}

/** Ranks, scales and projections that differ, as adapters of others do. */
function foreignAdapter(): string {
  const source = mkdtempSync(join(folder, 'peft-'))
  const wave = (length: number, size: number, step: number) =>
    Float32Array.from({ length }, (_, i) => size * Math.sin(1 + i * step))
  const modules = new Map<string, LoraPair>()
  for (const [module, [out, inputs]] of SHAPES) {
    if (!/layers\.\d\.self_attn\.[qv]_proj/.test(module)) continue
    modules.set(module, { rank: 4, in: inputs, out, a: wave(4 * inputs, 0.2, 0.7), b: wave(out * 4, 0.1, 1.3) })
  }
  writePeftAdapter(source, { baseModel: 'someone/else', rank: 4, alpha: 8, modules })
  const file = join(source, 'adapter_config.json')
  const config = JSON.parse(readFileSync(file, 'utf8'))
  writeFileSync(file, JSON.stringify({ ...config, use_rslora: true, alpha_pattern: { v_proj: 12 } }))
  return source
}

async function imported(source: string, name: string): Promise<string> {
  said.length = 0
  await importAdapter(source, { baseModel: 'org/base', name, url: server.url, json: true })
  return JSON.parse(said.join('')).path
}

const largestDifference = (a: number[], b: number[]) => Math.max(...a.map((x, i) => Math.abs(x - (b[i] as number))))

describe('an adapter that PEFT saved', () => {
  let source: string
  let path: string
  let logprobs: number[]
  beforeAll(async () => {
    source = foreignAdapter()
    path = await imported(source, 'theirs')
    logprobs = await logprobsOf({ modelPath: path })
  })

  it('becomes a checkpoint that changes what the model says', async () => {
    expect(path).toMatch(/^tinker:\/\/[0-9a-f-]{36}:train:0\/weights\/theirs$/)
    expect(largestDifference(logprobs, await logprobsOf({ baseModel: 'org/base' }))).toBeGreaterThan(0.01)
  })

  it('comes out as a PEFT folder that says the same when it comes in again', async () => {
    const out = join(folder, 'out')
    await exportAdapter(path, out, { url: server.url })
    expect(readdirSync(out).sort()).toEqual(['adapter_config.json', 'adapter_model.safetensors'])
    expect(await logprobsOf({ modelPath: await imported(out, 'again') })).toEqual(logprobs)
  })

  it('can be trained on, from the numbers that it came with', async () => {
    const training = await service().createTrainingClientFromState(path)
    const datum = {
      modelInput: ModelInput.fromInts(TOKENS.slice(0, -1)),
      lossFnInputs: { target_tokens: TOKENS.slice(1), weights: Array(6).fill(1) },
    }
    const { lossFnOutputs } = await training.forwardBackward([datum], 'cross_entropy')
    const trained = Array.from(lossFnOutputs[0]?.logprobs?.data ?? [], Number)
    expect(largestDifference(trained, logprobs)).toBeLessThan(1e-4)
    await training.optimStep({ learningRate: 1e-2 })
    const after = await training.forward([datum], 'cross_entropy')
    expect(after.metrics['loss:sum']).toBeLessThan(-trained.reduce((sum, x) => sum + x, 0))
  })

  it.each([
    ['by the server', () => ({ url: server.url }), () => path],
    ['on this machine', () => ({ model: BASE }), () => source],
  ])('merges %s into a model that says the same without it', async (_, options, adapter) => {
    const out = mkdtempSync(join(folder, 'merged-'))
    await mergeAdapter(adapter(), out, options())
    const merged = await serve(out)
    try {
      expect(largestDifference(await logprobsOf({ baseModel: 'org/base' }, merged.url), logprobs)).toBeLessThan(1e-4)
    } finally {
      await merged.close()
    }
  })
})

it('what cannot be used is refused with the reason, in the words of files and not of folders', async () => {
  const source = foreignAdapter()
  const file = join(source, 'adapter_config.json')
  writeFileSync(file, JSON.stringify({ ...JSON.parse(readFileSync(file, 'utf8')), use_dora: true }))
  const problem = await imported(source, 'dora').catch((error: Error) => error.message)
  expect(problem).toContain('adapter_config.json: use_dora: true is not supported; supported: plain LoRA')
  expect(problem).not.toContain(folder)
  await expect(imported(BASE, 'base')).rejects.toThrow(/has no adapter_config.json/)
})
