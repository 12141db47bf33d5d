// `npx tsx scripts/bench-prefix.ts [--model NAME=REF]`: what the prefix cache saves. A group of requests with one long
// beginning against as many whose beginnings differ, interleaved, through a real server. Prints Markdown. The engine's processor
// time is what does not depend on who else uses the machine. Linux only.

import { readFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { ModelInput, type SamplingClient, ServiceClient } from '../src/client/tinker/index.ts'
import { HEADER, row, timed } from './bench/measure.ts'
import { startServerProcess } from './demo/server-process.ts'

const ROUNDS = 3
const CLIENTS = 8
/** Tokens that a group has in common, those of each request after them, and those that are drawn. */
const BEGINNING = 384
const OWN = 16
const SAMPLED = 16
const token = (i: number) => 100 + ((i * 37) % 150)

/** Processor seconds that the engines have used; a tick of the kernel's clock is 10 ms. */
function engineSeconds(pid: number): number {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ')
  return children.reduce((sum, child) => {
    const [, fields = ''] = readFileSync(`/proc/${child}/stat`, 'utf8').split(') ')
    const [user, system] = fields.split(' ').slice(11, 13).map(Number)
    return sum + ((user ?? 0) + (system ?? 0)) / 100
  }, 0)
}

/** Prompt and sampled tokens a second, processor seconds, and the prompt tokens that the answers call cached. */
async function groupRate(sampler: SamplingClient, round: number, beginsAlike: boolean) {
  // The first two tokens tell beginnings apart: groups of all rounds, and the requests of a group that shares nothing.
  const prompt = (client: number) => {
    const family = round * (CLIENTS + 1) + (beginsAlike ? CLIENTS : client)
    const beginning = Array.from({ length: BEGINNING - 2 }, (_, i) => token(i))
    const own = Array.from({ length: OWN }, (_, i) => token(i + client))
    return ModelInput.fromInts([100 + Math.floor(family / 150), 100 + (family % 150), ...beginning, ...own])
  }
  const samplingParams = { maxTokens: SAMPLED, stop: [], seed: round }
  let cached = 0
  const before = engineSeconds(server.pid)
  const ms = await timed(async () => {
    const answers = Array.from({ length: CLIENTS }, (_, c) => sampler.sample({ prompt: prompt(c), samplingParams }))
    for (const { promptCacheHitTokens } of await Promise.all(answers)) cached += promptCacheHitTokens
  })
  const seconds = engineSeconds(server.pid) - before
  return { rate: (CLIENTS * (BEGINNING + OWN + SAMPLED)) / (ms / 1000), seconds, cached }
}

async function measure(sampler: SamplingClient) {
  const figures: Record<'apart' | 'alike' | 'ratio' | 'seconds' | 'cached', number[]> = {
    apart: [],
    alike: [],
    ratio: [],
    seconds: [],
    cached: [],
  }
  for (let round = -1; round < ROUNDS; round++) {
    const apart = await groupRate(sampler, round + 2, false)
    const alike = await groupRate(sampler, round + 2, true)
    if (round < 0) continue
    figures.apart.push(apart.rate)
    figures.alike.push(alike.rate)
    figures.ratio.push(alike.rate / apart.rate)
    figures.seconds.push(apart.seconds / alike.seconds)
    figures.cached.push(alike.cached / (CLIENTS * (BEGINNING + OWN)))
  }
  return figures
}

const { values } = parseArgs({ options: { model: { type: 'string' } } })
const stateDir = await mkdtemp(join(tmpdir(), 'twinkle-bench-'))
const server = await startServerProcess(['--state-dir', stateDir, ...(values.model ? ['--model', values.model] : [])])
try {
  const service = new ServiceClient({ baseUrl: server.url, apiKey: 'tml-bench' })
  const baseModel = values.model?.split('=')[0] ?? 'twinkle/tiny'
  const { apart, alike, ratio, seconds, cached } = await measure(await service.createSamplingClient({ baseModel }))
  await service.close()
  const figures = [
    { name: `${CLIENTS} prompts of ${BEGINNING + OWN} tokens that differ`, unit: 'tokens/s', values: apart },
    { name: `the same with ${BEGINNING} tokens in common`, unit: 'tokens/s', values: alike },
    { name: 'ratio of the two', unit: 'x', values: ratio },
    { name: 'ratio of the processor time', unit: 'x', values: seconds },
    { name: 'prompt tokens that were cached', unit: 'of 1', values: cached },
  ]
  process.stdout.write(`${baseModel}\n\n${HEADER}\n${figures.map(row).join('\n')}\n`)
} finally {
  await server.stop()
  await rm(stateDir, { recursive: true })
}
