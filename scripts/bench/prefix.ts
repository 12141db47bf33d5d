// What the prefix cache saves: a group of requests with one long beginning against as many whose beginnings differ,
// interleaved, through a real server. The engine's processor time is what does not depend on who else uses the machine.
// Linux only.

import { readFileSync } from 'node:fs'
import { ModelInput, type SamplingClient, ServiceClient } from '../../src/client/tinker/index.ts'
import type { ServerProcess } from '../demo/server-process.ts'
import { Figures, timed } from './measure.ts'
import { withServer } from './server.ts'

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
async function groupRate(server: ServerProcess, sampler: SamplingClient, round: number, beginsAlike: boolean) {
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

/** @param model `NAME=REF`; absent: the embedded model. */
export async function benchPrefix(model: string | undefined, print: (text: string) => void): Promise<void> {
  await withServer(model ? ['--model', model] : [], async (server) => {
    const service = new ServiceClient({ baseUrl: server.url, apiKey: 'tml-bench' })
    const baseModel = model?.split('=')[0] ?? 'twinkle/tiny'
    const sampler = await service.createSamplingClient({ baseModel })
    const figures = new Figures()
    for (let round = -1; round < ROUNDS; round++) {
      const apart = await groupRate(server, sampler, round + 2, false)
      const alike = await groupRate(server, sampler, round + 2, true)
      if (round < 0) continue
      figures.add(`${CLIENTS} prompts of ${BEGINNING + OWN} tokens that differ`, 'tokens/s', apart.rate)
      figures.add(`the same with ${BEGINNING} tokens in common`, 'tokens/s', alike.rate)
      figures.add('ratio of the two', 'x', alike.rate / apart.rate)
      figures.add('ratio of the processor time', 'x', apart.seconds / alike.seconds)
      figures.add('prompt tokens that were cached', 'of 1', alike.cached / (CLIENTS * (BEGINNING + OWN)))
    }
    await service.close()
    print(`${baseModel}\n\n${figures.table()}`)
  })
}
