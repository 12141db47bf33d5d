import { cpSync, mkdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { temporaryFolder } from '../../formats/testing/temporary-folder.ts'
import type { Engine } from '../backend.ts'
import { collect, generation, LORA, optimStep, trainingItem } from '../conformance/requests.ts'
import { transformersBackend } from './backend.ts'
import { openEngine } from './engine.ts'
import { goldenPath } from './testing/goldens.ts'

const MODEL = { name: 'golden/llama', path: goldenPath('llama-tied/checkpoint') }

async function opened(log: string[] = [], threads = 0): Promise<Engine> {
  const engine = await openEngine(MODEL, { cacheDir: temporaryFolder(), threads, log: (line) => log.push(line) })
  onTestFinished(() => engine.close())
  return engine
}

/** A copy of the model that something was done to. */
function damaged(damage: (folder: string) => void): string {
  const folder = join(temporaryFolder(), 'model')
  mkdirSync(folder)
  cpSync(MODEL.path, folder, { recursive: true })
  damage(folder)
  return folder
}

function editConfig(folder: string, change: object): void {
  const file = join(folder, 'config.json')
  writeFileSync(file, JSON.stringify({ ...JSON.parse(readFileSync(file, 'utf8')), ...change }))
}

describe('the embedded engine', () => {
  it('reports the model it was given and what decides its bits', async () => {
    const log: string[] = []
    const { info } = await opened(log, 2)
    expect(info).toMatchObject({
      backend: 'transformers',
      model: 'golden/llama',
      architecture: 'llama',
      vocabulary: 512,
      maxContext: 512,
      endTokens: [2],
      losses: ['cross_entropy', 'importance_sampling', 'ppo', 'cispo', 'dro', 'gspo'],
      lossKinds: ['token', 'sequence', 'pair', 'entropy', 'embedding'],
      maxRank: 128,
    })
    expect(info.runtime).toMatch(/^onnxruntime-node 1\.30\.0, .*threads 2/)
    expect(log[0]).toBe('golden/llama: llama, 2 layers; threads 2 (configured)')
  })

  it('lets an adapter go on as soon as its own operation is done, whoever shares the call', async () => {
    const engine = await opened()
    for (const id of ['quick', 'slow']) await engine.createAdapter(id, LORA)
    const datum = trainingItem('', '').datums[0]!
    const long = trainingItem('long', 'slow', { datums: Array.from({ length: 2000 }, () => datum) })
    const seen: string[] = []
    const training = (async () => {
      for await (const { operation } of engine.train([trainingItem('short', 'quick'), long])) seen.push(operation)
    })()
    await engine.optimStep([optimStep('step', 'quick')])
    seen.push('step')
    await training
    expect(seen).toEqual(['short', 'step', 'long'])
  })

  it('lets what it knows of prompts go with the last use of their snapshot', async () => {
    const engine = await opened()
    await engine.createAdapter('a', LORA)
    const [snapshot] = [await engine.publish('a'), await engine.publish('a')] as const
    const prompt = new Int32Array(100).fill(5)
    const held = async () => (await engine.status()).prefixBytes
    await collect(engine.generate(generation('g', { snapshot, prompt, prefixScope: 'ann' })))
    await engine.releaseSnapshot(snapshot)
    expect(await held()).toBeGreaterThan(0)
    await engine.releaseSnapshot(snapshot)
    expect(await held()).toBe(0)
  })

  it('gives outcomes whose failures are data', async () => {
    const engine = await opened()
    const [outcome] = await collect(engine.train([trainingItem('t', 'nobody')]))
    expect(JSON.parse(JSON.stringify(outcome))).toEqual(outcome)
  })
})

describe.each([
  ['in this process', openEngine],
  ['in a process of its own', transformersBackend.open],
])('a model that cannot be opened, %s', (_, open) => {
  it.each([
    ['a folder that is not there', () => '/nowhere/model', 'INVALID_MODEL', /no such model/],
    [
      'an unknown architecture',
      () => damaged((f) => editConfig(f, { architectures: ['MambaForCausalLM'] })),
      'UNSUPPORTED_MODEL',
      /"MambaForCausalLM" is not supported; supported: LlamaForCausalLM/,
    ],
    [
      'truncated weights',
      () => damaged((f) => truncateSync(join(f, 'model.safetensors'), 100_000)),
      'INVALID_MODEL',
      /model.safetensors/,
    ],
    [
      'a configuration of another size',
      () => damaged((f) => editConfig(f, { intermediate_size: 96 })),
      'INVALID_MODEL',
      /mlp.gate_proj|mlp.down_proj/,
    ],
    [
      'a broken tokenizer',
      () => damaged((f) => writeFileSync(join(f, 'tokenizer.json'), '{')),
      'INVALID_MODEL',
      /tokenizer.json/,
    ],
  ])('%s', async (_, path, code, sentence) => {
    const failed = open({ name: 'm', path: path() }, { cacheDir: temporaryFolder(), threads: 0, log: () => {} })
    await expect(failed).rejects.toMatchObject({ category: 'user', code, message: expect.stringMatching(sentence) })
  })
})
