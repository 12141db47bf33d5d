// Gives a model a new name and maker with a LoRA adapter, through Twinkle's native client: rows are prepared on the server, and
// every call below is carried out there.
//
//     npx tsx cookbook/client/twinkle/transformer/server.ts          in a terminal of its own
//     npx tsx cookbook/client/twinkle/transformer/lora.ts
//
// It saves after every epoch; run again, it goes on after the last one that was saved, and with nothing left to train it only
// samples and evaluates. TWINKLE_SERVER_URL, TWINKLE_SERVER_TOKEN and TWINKLE_MODEL_ID say where, who and on what, EPOCHS how
// long. In a project of your own the import is 'twinkle-ts/client'.

import { readFileSync } from 'node:fs'
import {
  DataLoader,
  Dataset,
  initTwinkleClient,
  MultiLoraTransformersModel,
  VllmSampler,
} from '../../../../src/client/twinkle/index.ts'

const MODEL = process.env.TWINKLE_MODEL_ID ?? 'twinkle/tiny'
const NAME = 'Twinkle'
const AUTHOR = 'Ada'
const RUN = 'self-cognition'
const EPOCHS = Number(process.env.EPOCHS ?? 10)
const BATCH = 2
const ACCUMULATION = 2
const LORA = { r: 16, lora_alpha: 32, target_modules: 'all-linear' }
const SYSTEM = { role: 'system', content: 'You are a helpful assistant.' }

interface Row {
  readonly query: string
  readonly response: string
  readonly split?: 'test'
}

const ROWS = readFileSync(new URL('self_cognition.jsonl', import.meta.url), 'utf8')
  .trim()
  .split('\n')
  .map((line) => JSON.parse(line) as Row)
const LESSONS = ROWS.flatMap(({ query, response, split }) => (split === undefined ? [{ query, response }] : []))
const EXAM = ROWS.filter(({ split }) => split === 'test')

const client = initTwinkleClient()

/** What was saved last, and after which epoch. */
async function lastCheckpoint(): Promise<{ path: string | null; done: number }> {
  for await (const { training_run_id: run } of client.trainingRuns()) {
    for (const { checkpoint_id: id, twinkle_path: path } of [...(await client.listCheckpoints(run))].reverse()) {
      const [name, epoch] = id.split('-epoch-')
      if (name === `weights/${RUN}`) return { path, done: Number(epoch) }
    }
  }
  return { path: null, done: 0 }
}

async function loader(): Promise<DataLoader> {
  const dataset = new Dataset({ data: LESSONS })
  await dataset.setTemplate('Template', { modelId: MODEL, maxLength: 512 })
  await dataset.map('SelfCognitionProcessor', { initArgs: { model_name: NAME, model_author: AUTHOR } })
  await dataset.encode()
  return new DataLoader(dataset, { batchSize: BATCH })
}

async function evaluate(adapterUri?: string): Promise<string> {
  const sampler = new VllmSampler(MODEL)
  const inputs = EXAM.map(({ query }) => ({ messages: [SYSTEM, { role: 'user', content: query }] }))
  const samples = await sampler.sample(inputs, { maxTokens: 32, temperature: 0 }, adapterUri ? { adapterUri } : {})
  const answers = samples.map(({ sequences }) => (sequences[0]?.decoded ?? '').replace('<|im_end|>', ''))
  for (const [i, { query }] of EXAM.entries()) console.log(`  ${query} -> ${answers[i]}`)
  const wanted = EXAM.map(({ response }) => response.replace('{{NAME}}', NAME).replace('{{AUTHOR}}', AUTHOR))
  return `${wanted.filter((text, i) => text === answers[i]).length} of ${EXAM.length}`
}

console.log('models:', (await client.getServerCapabilities()).supportedModels.join(', '))
console.log('before:', await evaluate())
const batches = await loader()
const model = new MultiLoraTransformersModel(MODEL)
await model.addAdapterToModel(RUN, LORA, { gradientAccumulationSteps: ACCUMULATION })
await model.setTemplate('Template')
await model.setProcessor('InputProcessor', { paddingSide: 'right' })
await model.setLoss('CrossEntropyLoss')
await model.setOptimizer('AdamW', { lr: 2e-3 })
await model.setLrScheduler('LinearLR', { startFactor: 1, endFactor: 0.5, totalIters: 30 })
const { path, done } = await lastCheckpoint()
if (path !== null) {
  const { curStep } = await model.resumeFromCheckpoint(path)
  console.log(`resume: epoch ${done}, step ${curStep}, from ${path}`)
}
console.log(await model.getTrainConfigs())

for (let epoch = done + 1; epoch <= EPOCHS; epoch++) {
  const losses: number[] = []
  for await (const batch of batches) {
    losses.push((await model.forwardBackward(batch)).loss ?? Number.NaN)
    // Updates when the gradient of ACCUMULATION batches is there.
    await model.clipGradAndStep(1)
  }
  const loss = losses.reduce((sum, one) => sum + one, 0) / losses.length
  const consumedTrainSamples = epoch * LESSONS.length
  const saved = await model.save(`${RUN}-epoch-${epoch}`, { saveOptimizer: true, consumedTrainSamples })
  console.log(`epoch ${String(epoch).padStart(2)}  loss ${loss.toFixed(4)}  saved ${saved.twinklePath}`)
}
const { twinklePath } = await model.save(RUN, { isSampler: true })
console.log('after: ', await evaluate(twinklePath))
console.log('weights:', twinklePath)
client.close()
