// One program, twice: in a process of its own with 'twinkle-ts', and against a real server with 'twinkle-ts/client' and one
// more line. The weights are the same to the last bit.

import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { printedBy } from './program.ts'
import { type ServerProcess, startServerProcess } from './server-process.ts'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const KEY = 'tml-twin'

const TRAINING = `
const rows = [1, 2, 3, 4].map((seed) => {
  const tokens = Array.from({ length: 16 }, (_, i) => 100 + ((seed * 31 + i * 37) % 150))
  return { input_ids: tokens.slice(0, -1), labels: tokens.slice(1) }
})
const loader = new DataLoader(new Dataset({ data: rows }), { batchSize: 2 })
const model = new MultiLoraTransformersModel('twinkle/tiny')
await model.addAdapterToModel('twin', { r: 4, target_modules: 'all-linear' }, { seed: 7 })
await model.setLoss('CrossEntropyLoss')
await model.setOptimizer('AdamW', { lr: 1e-2 })
for (let epoch = 0; epoch < 2; epoch++) {
  for await (const batch of loader) {
    const { loss } = await model.forwardBackward(batch)
    await model.clipGradAndStep()
    console.log('loss', loss)
  }
}
await model.save('twin')
const weights = JSON.stringify(await model.getStateDict())
console.log(weights.length, createHash('sha256').update(weights).digest('hex'))
`
const NAMES = 'DataLoader, Dataset, MultiLoraTransformersModel'
const HERE = `import { createHash } from 'node:crypto'
import { ${NAMES} } from 'twinkle-ts'
${TRAINING}`
const THERE = `import { createHash } from 'node:crypto'
import { ${NAMES}, initTwinkleClient } from 'twinkle-ts/client'
initTwinkleClient({ baseUrl: process.env.SERVER, apiKey: '${KEY}' })
${TRAINING}`

let folder: string
let server: ServerProcess
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'twinkle-twin-'))
  server = await startServerProcess({ keys: [KEY] })
})
afterAll(async () => {
  await server?.stop()
  await rm(folder, { recursive: true })
})

const printed = (program: string, environment = {}) => printedBy(program, folder, environment)
const leftBehind = async () => (await readdir(folder)).filter((name) => name.startsWith('twinkle-local-'))

describe('a program that trains', { timeout: 120_000 }, () => {
  it('makes the same weights in its own process and on a server', async () => {
    const [here, there] = await Promise.all([printed(HERE), printed(THERE, { SERVER: server.url })])
    expect(here).toHaveLength(5)
    const losses = here.slice(0, 4).map((line) => Number(line.split(' ')[1]))
    expect(losses[3]).toBeLessThan(losses[0] as number)
    expect(Number(here[4]?.split(' ')[0])).toBeGreaterThan(1e5)
    expect(here).toEqual(there)
    expect(await leftBehind()).toEqual([])
  })

  it('finds what an earlier program left in its state folder', async () => {
    const stateDir = JSON.stringify(join(folder, 'state'))
    const configured = HERE.replace('import { D', 'import { configureLocal, D').replace(
      TRAINING,
      `configureLocal({ stateDir: ${stateDir} })${TRAINING}`,
    )
    await printed(configured)
    const [found] = await printed(`import { configureLocal, TwinkleClient } from 'twinkle-ts'
configureLocal({ stateDir: ${stateDir} })
const client = new TwinkleClient()
const [run] = await client.listTrainingRuns()
console.log(await client.getLatestCheckpointPath(run.training_run_id))`)
    expect(found).toMatch(/^twinkle:\/\/.*\/weights\/twin$/)
  })

  it('may name a model by its path, before the first call', async () => {
    const tiny = JSON.stringify(join(ROOT, 'models/tiny'))
    const [name, model, late] = await printed(`import { MultiLoraTransformersModel, TwinkleClient } from 'twinkle-ts'
const model = new MultiLoraTransformersModel(${tiny})
console.log(model.modelId)
await model.addAdapterToModel('path')
console.log((await new TwinkleClient().listTrainingRuns())[0].base_model)
try {
  new MultiLoraTransformersModel('./other.gguf')
} catch (error) {
  console.log(error.message)
}`)
    expect([name, model]).toEqual(['tiny', 'tiny'])
    expect(late).toMatch(/other\.gguf comes after the first call.*configureLocal/)
  })

  it('reads data sets from its folder', async () => {
    await writeFile(join(folder, 'rows.jsonl'), '{"input_ids": [1, 2]}\n{"input_ids": [3, 4]}\n')
    const [size] = await printed(`import { configureLocal, Dataset } from 'twinkle-ts'
configureLocal({ dataDir: ${JSON.stringify(folder)} })
console.log(await new Dataset({ datasetId: 'rows.jsonl' }).size())`)
    expect(size).toBe('2')
  })

  it('ends by an error or process.exit without leaving anything behind', async () => {
    const endings = [
      ["throw new Error('mine')", /mine/],
      ['process.exit(3)', expect.objectContaining({ code: 3 })],
    ] as const
    for (const [ending, reason] of endings) {
      const program = `import { TwinkleClient } from 'twinkle-ts'
await new TwinkleClient().getCapacityInfo()
${ending}`
      await expect(printed(program)).rejects.toThrow(reason as RegExp)
      expect(await leftBehind()).toEqual([])
    }
  })

  it('is told in its own words when it cannot begin', async () => {
    const [taken, late] = await printed(`import { configureLocal, TwinkleClient } from 'twinkle-ts'
configureLocal({ models: { mine: '/nowhere/model' } })
await new TwinkleClient().getCapacityInfo().catch((error) => console.log(error.name, error.message))
try {
  configureLocal({})
} catch (error) {
  console.log(error.message)
}`)
    expect(taken).toMatch(/^LocalError .*\/nowhere\/model/)
    expect(late).toMatch(/configureLocal came after/)
  })
})
