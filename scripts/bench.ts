// `npm run bench`: what this machine does with the embedded model and with the tiny Qwen3 of the goldens. A real server as
// built, driven through the HTTP API. Prints Markdown: medians with their spread. Absolute times are of this machine in this
// hour; what can be compared is printed as a ratio of interleaved runs.

import { readFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { availableParallelism, cpus, tmpdir } from 'node:os'
import { join } from 'node:path'
import { ServiceClient } from '../src/client/tinker/index.ts'
import { type Figure, HEADER, row } from './bench/measure.ts'
import { firstPass, newAdapter, overhead, samplingRate, trainingRate } from './bench/workload.ts'
import { BUILT, type ServerProcess, startServerProcess } from './demo/server-process.ts'

const STARTS = 5
const ROUNDS = 5
const OPERATIONS = 200
const TRAIN_STEPS = 10
const QWEN3 = 'src/backends/transformers/goldens/qwen3-tied/checkpoint'
const MODELS = [
  { name: 'twinkle/tiny', args: [] as string[] },
  { name: 'golden/qwen3', args: ['--model', `golden/qwen3=${QWEN3}`] },
]

/** Resident MB of the server and of its engines: the memory it has, not what the model's file maps. Linux only. */
function memory({ pid }: ServerProcess): { api: number; engines: number } | null {
  try {
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ').filter(Boolean)
    return { api: residentMb(pid), engines: children.reduce((sum, child) => sum + residentMb(Number(child)), 0) }
  } catch {
    return null
  }
}

function residentMb(pid: number): number {
  const kb = /VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]
  return Number(kb) / 1024
}

async function withServer<T>(args: readonly string[], use: (server: ServerProcess) => Promise<T>): Promise<T> {
  const stateDir = await mkdtemp(join(tmpdir(), 'twinkle-bench-'))
  try {
    const server = await startServerProcess(['--state-dir', stateDir, ...args], BUILT)
    try {
      return await use(server)
    } finally {
      await server.stop()
    }
  } finally {
    await rm(stateDir, { recursive: true })
  }
}

class Figures {
  readonly #values = new Map<string, { unit: string; values: number[] }>()
  add(name: string, unit: string, value: number): void {
    const known = this.#values.get(name)
    if (known) known.values.push(value)
    else this.#values.set(name, { unit, values: [value] })
  }
  all(): Figure[] {
    return [...this.#values].map(([name, { unit, values }]) => ({ name, unit, values }))
  }
}

function addMemory(figures: Figures, server: ServerProcess, when: string): void {
  const used = memory(server)
  if (!used) return
  figures.add(`resident memory, API, ${when}`, 'MB', used.api)
  figures.add(`resident memory, engine, ${when}`, 'MB', used.engines)
}

async function starts(figures: Figures, args: readonly string[], model: string): Promise<void> {
  for (let i = 0; i < STARTS; i++) {
    await withServer(args, async (server) => {
      figures.add('start to ready', 'ms', server.readyMs)
      addMemory(figures, server, 'ready')
      const service = new ServiceClient({ baseUrl: server.url, apiKey: 'tml-bench' })
      const training = await newAdapter(service, model, i)
      figures.add('first forward_backward (8 x 64 tokens)', 'ms', await firstPass(training))
      await training.optimStep()
      await service.close()
    })
  }
}

async function steady(figures: Figures, args: readonly string[], model: string): Promise<void> {
  await withServer(args, async (server) => {
    const service = new ServiceClient({ baseUrl: server.url, apiKey: 'tml-bench' })
    const adapters = await Promise.all(Array.from({ length: 7 }, (_, i) => newAdapter(service, model, i)))
    const [first] = adapters
    if (!first) return
    for (let i = 0; i < OPERATIONS; i++)
      figures.add('operation without compute (optim_step)', 'ms', await overhead(first))
    const sampler = await first.saveWeightsAndGetSamplingClient()
    for (let round = -1; round < ROUNDS; round++) {
      const one = await trainingRate([first], TRAIN_STEPS)
      const seven = await trainingRate(adapters, TRAIN_STEPS)
      const alone = await samplingRate(sampler, 1, round + 2)
      const crowd = await samplingRate(sampler, 32, round + 2)
      if (round < 0) continue
      figures.add('training, 1 adapter, 8 x 64', 'tokens/s', one)
      figures.add('training, 7 adapters, 8 x 64 each', 'tokens/s', seven)
      figures.add('ratio of the two', 'x', seven / one)
      figures.add('sampling, 1 client', 'tokens/s', alone)
      figures.add('sampling, 32 clients', 'tokens/s', crowd)
      figures.add('ratio of the two samplings', 'x', crowd / alone)
    }
    addMemory(figures, server, 'after all of this')
    await service.close()
  })
}

const processor = cpus()[0]?.model ?? 'unknown processor'
process.stdout.write(`${processor}, ${availableParallelism()} cores, Node ${process.versions.node}\n`)
for (const { name, args } of MODELS) {
  const figures = new Figures()
  await starts(figures, args, name)
  await steady(figures, args, name)
  process.stdout.write(`\n${name}\n\n${HEADER}\n${figures.all().map(row).join('\n')}\n`)
}
