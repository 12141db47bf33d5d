// `npm run demo`: starts a server with the embedded model and trains it twice through the HTTP API, by supervised
// fine-tuning and by reinforcement learning. Under a minute on two cores. `-- --model smollm2-135m-instruct` does the same
// with a real pretrained model, in minutes. Progress goes to stderr, results to stdout.

import { mkdirSync, writeFileSync } from 'node:fs'
import { join, relative, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import colors from 'picocolors'
import { environmentLines } from '../src/cli/ready.ts'
import { ServiceClient } from '../src/client/tinker/index.ts'
import { sparkline, svgOf } from './demo/chart.ts'
import { Meter } from './demo/meter.ts'
import { type DemoModel, demoModel } from './demo/models.ts'
import { reinforce } from './demo/rl.ts'
import { startServerProcess } from './demo/server-process.ts'
import { type Exchange, fineTune } from './demo/sft.ts'

const STATE_DIR = resolve('.twinkle', 'demo')
const SCRIPT = 'cookbook/client/tinker/transformer/lora.py'

function say(line = ''): void {
  process.stdout.write(`${line}\n`)
}

function show({ question, before, after }: Exchange): void {
  say(`  ${question}`)
  say(`    before  ${colors.dim(JSON.stringify(before))}`)
  say(`    after   ${JSON.stringify(after)}`)
}

async function train(service: ServiceClient, { recipe }: DemoModel): Promise<void> {
  say(`\n${colors.bold('1. Supervised fine-tuning')}: ${recipe.sft.rows.length} rows, ${recipe.sft.steps} steps`)
  const loss = new Meter('loss', recipe.sft.steps, process.stderr)
  const tuned = await fineTune(service, recipe, loss)
  tuned.exchanges.forEach(show)

  const { groups, groupSize, steps, problems } = recipe.rl
  say(
    `\n${colors.bold('2. Reinforcement learning')}: ${problems.name}, ${groups} x ${groupSize} answers a step, ${steps} steps`,
  )
  const reward = new Meter('reward', steps, process.stderr)
  const reinforced = await reinforce(service, recipe, reward)
  reinforced.exchanges.forEach(show)
  const [before, after] = reinforced.reward.map((share) => `${(share * 100).toFixed(0)} %`)
  say(`  right answers to other ${problems.name} at temperature 1: ${before} before, ${after} after`)

  const file = join(STATE_DIR, 'curves.svg')
  const curves = [
    { title: `${recipe.model}: loss per token`, values: loss.values },
    { title: `${recipe.model}: mean reward`, values: reward.values },
  ]
  writeFileSync(file, svgOf(curves))
  say()
  say(`loss    ${sparkline(loss.values)}  ${ends(loss.values)}`)
  say(`reward  ${sparkline(reward.values)}  ${ends(reward.values)}`)
  say(`curves  ${relative('.', file)}`)
  say(`weights ${tuned.path}`)
}

function ends(values: readonly number[]): string {
  return `${values[0]?.toFixed(3)} -> ${values.at(-1)?.toFixed(3)}`
}

function nextSteps({ recipe, path }: DemoModel): void {
  const model = path === null ? '' : ` --model ${recipe.model}=${relative('.', path)}`
  say(`\n${colors.bold('Next: a Python script of the Tinker SDK against your own server')}`)
  say(`  npm run twinkle -- serve${model}   # in another terminal`)
  say('  python3 -m venv .venv && .venv/bin/pip install tinker==0.38.0 ./src/patch/python')
  for (const line of environmentLines({ url: 'http://127.0.0.1:8000', hasKeys: false })) say(`  ${line}`)
  say(`  .venv/bin/python ${SCRIPT} ${recipe.model}`)
}

async function main(): Promise<void> {
  const { values } = parseArgs({ options: { model: { type: 'string', default: 'tiny' } } })
  mkdirSync(STATE_DIR, { recursive: true })
  const model = await demoModel(values.model, STATE_DIR, say)
  const served = model.path === null ? [] : ['--model', `${model.recipe.model}=${model.path}`]
  const server = await startServerProcess(['--state-dir', STATE_DIR, ...served])
  try {
    say(`Server ready at ${server.url} in ${(server.readyMs / 1000).toFixed(1)} s, serving ${model.recipe.model}`)
    const service = new ServiceClient({ baseUrl: server.url, apiKey: 'tml-demo' })
    await train(service, model)
    await service.close()
  } finally {
    await server.stop()
  }
  nextSteps(model)
}

// So that the server goes along, which listens to `exit`.
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(130))
try {
  await main()
} catch (error) {
  console.error(`Error: ${(error as Error).message}`)
  process.exitCode = 1
}
