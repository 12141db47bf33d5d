// The TypeScript SDK against the real server process with the embedded model: training by built-in losses and by losses of
// one's own, reinforcement, resuming, sampling, runs and checkpoints; and draws beside those of the Python SDK, token by token.

import { spawn } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import {
  AdminClient,
  type CustomLoss,
  type Datum,
  ModelInput,
  NotFoundError,
  policyDatum,
  RestClient,
  SamplingClient,
  ServiceClient,
  supervisedDatum,
  type TrainingClient,
} from '../../src/client/tinker/index.ts'
import { EMBEDDED_MODEL } from '../../src/server/config-fields.ts'
import { KEY, OTHER_KEY, pythonEnv } from './sdk-run.ts'
import { type ServerProcess, startServerProcess } from './server-process.ts'

const MODEL = EMBEDDED_MODEL.name
const PROMPT = [20, 31, 42, 53]
const LOSS_TOLERANCE = 4

let server: ServerProcess
let service: ServiceClient

beforeAll(async () => {
  server = await startServerProcess({ keys: [KEY, OTHER_KEY] })
  service = new ServiceClient({ baseUrl: server.url, apiKey: KEY, userMetadata: { of: 'the test' } })
})
afterAll(async () => {
  await service.close()
  await server.stop()
})

const adapter = (seed: number) => service.createLoraTrainingClient({ baseModel: MODEL, rank: 8, seed })

function rows(count: number): Datum[] {
  return Array.from({ length: count }, (_, row) =>
    supervisedDatum({
      prompt: PROMPT.map((token) => token + row),
      completion: Array.from({ length: 6 }, (_, i) => 100 + ((row * 37 + i * 11) % 200)),
    }),
  )
}

async function logprobsOf(training: TrainingClient): Promise<number[]> {
  const { lossFnOutputs } = await training.forward(rows(3), 'cross_entropy')
  return lossFnOutputs.flatMap(({ logprobs }) => Array.from(logprobs!.data))
}

function expectClose(got: readonly number[], wanted: readonly number[]): void {
  expect(got).toHaveLength(wanted.length)
  for (const [index, value] of got.entries()) expect(value).toBeCloseTo(wanted[index]!, LOSS_TOLERANCE)
}

it('trains until the model continues as it was taught, every operation queued before its turn', async () => {
  const training = await adapter(1)
  const data = rows(2)
  const steps = Array.from({ length: 15 }, () => {
    const pass = training.forwardBackward(data, 'cross_entropy')
    return { pass, step: training.optimStep({ learningRate: 5e-3 }) }
  })
  const losses = await Promise.all(steps.map(async ({ pass }) => (await pass).metrics['loss:sum']!))
  await steps.at(-1)!.step
  expect(losses.at(-1)).toBeLessThan(losses[0]! / 5)
  const sampler = await training.saveWeightsAndGetSamplingClient()
  const samplingParams = { maxTokens: 6, temperature: 0 }
  const { sequences } = await sampler.sample({ prompt: ModelInput.fromInts(PROMPT), samplingParams })
  expect(sequences[0]!.tokens).toEqual([100, 111, 122, 133, 144, 155])
})

it('reinforces what is rewarded', async () => {
  const training = await adapter(2)
  const prompt = ModelInput.fromInts(PROMPT)
  const rewardOf = (tokens: readonly number[]) => tokens.filter((token) => token % 2 === 0).length / tokens.length
  const rewards: number[] = []
  for (let round = 0; round < 8; round++) {
    const sampler = await training.saveWeightsAndGetSamplingClient()
    const samplingParams = { maxTokens: 8, temperature: 1, seed: round, stop: [] }
    const { sequences } = await sampler.sample({ prompt, numSamples: 16, samplingParams })
    const each = sequences.map(({ tokens }) => rewardOf(tokens))
    const mean = each.reduce((sum, reward) => sum + reward, 0) / each.length
    rewards.push(mean)
    const data = sequences.map(({ tokens, logprobs }, index) =>
      policyDatum({ prompt: PROMPT, completion: tokens, logprobs, advantages: each[index]! - mean }),
    )
    const { metrics } = await training.forwardBackward(data, 'importance_sampling')
    // On policy every ratio is 1, and the advantages of a group sum to 0.
    expect(metrics['loss:sum']).toBeCloseTo(0, 1)
    await training.optimStep({ learningRate: 1e-2 })
  }
  expect(rewards.slice(-2).reduce((a, b) => a + b)).toBeGreaterThan(rewards.slice(0, 2).reduce((a, b) => a + b) + 0.3)
})

describe('a loss of the caller', () => {
  it('that is cross-entropy trains to the same weights as the built-in one', async () => {
    const [builtIn, own] = await Promise.all([adapter(3), adapter(3)])
    const crossEntropy: CustomLoss = (data, logprobs) => {
      const gradients = data.map(({ lossFnInputs }) => (lossFnInputs.weights as number[]).map((weight) => -weight))
      const sums = gradients.map((each, i) => each.reduce((sum, slope, at) => sum + slope * logprobs[i]![at]!, 0))
      return { loss: sums.reduce((a, b) => a + b), gradients }
    }
    for (let step = 0; step < 3; step++) {
      const expected = await builtIn.forwardBackward(rows(3), 'cross_entropy')
      const got = await own.forwardBackwardCustom(rows(3), crossEntropy)
      expect(got.metrics['loss:sum']).toBeCloseTo(expected.metrics['loss:sum']!, 3)
      await Promise.all([builtIn.optimStep({ learningRate: 1e-3 }), own.optimStep({ learningRate: 1e-3 })])
    }
    expectClose(await logprobsOf(own), await logprobsOf(builtIn))
  })

  it('that is traced from operations trains to the same weights as the built-in ppo', async () => {
    const [builtIn, own] = await Promise.all([adapter(4), adapter(4)])
    const ppo = await service.createCustomLoss(
      'ppo',
      ({ logprobs, old, advantages }) => {
        const ratio = logprobs.sub(old).exp()
        const least = ratio.mul(advantages).minimum(ratio.clamp(0.8, 1.2).mul(advantages))
        return { loss: least.sum().neg(), metrics: { 'custom/ratio:mean': ratio.mean() } }
      },
      { logprobs: 1, old: 1, advantages: 1 },
    )
    const completion = [101, 112, 133]
    const data = [1, -1].map((advantages) =>
      policyDatum({ prompt: PROMPT, completion, logprobs: [-6, -6.5, -5.5], advantages }),
    )
    const mine = data.map((datum) => {
      const { logprobs, ...others } = datum.lossFnInputs
      return { ...datum, lossFnInputs: { ...others, old: { data: logprobs as number[], dtype: 'float32' as const } } }
    })
    for (let step = 0; step < 3; step++) {
      const expected = await builtIn.forwardBackward(data, 'ppo')
      const got = await own.forwardBackwardCustom(mine, ppo)
      expect(got.metrics['loss:sum']).toBeCloseTo(expected.metrics['loss:sum']!, 3)
      await Promise.all([builtIn.optimStep({ learningRate: 1e-3 }), own.optimStep({ learningRate: 1e-3 })])
    }
    expectClose(await logprobsOf(own), await logprobsOf(builtIn))
  })
})

it('goes on from a checkpoint exactly where it was written', async () => {
  const training = await adapter(5)
  await training.forwardBackward(rows(3), 'cross_entropy')
  await training.optimStep({ learningRate: 1e-3 })
  const { path } = await training.saveState('half', { userMetadata: { step: '1' } })
  const resumed = await service.createTrainingClientFromStateWithOptimizer(path)
  for (const client of [training, resumed]) {
    await client.forwardBackward(rows(3), 'cross_entropy')
    await client.optimStep({ learningRate: 1e-3 })
  }
  expect(await logprobsOf(resumed)).toEqual(await logprobsOf(training))
  expect(resumed.getInfo().loraRank).toBe(8)
  const fresh = await service.createTrainingClientFromState(path)
  expect(fresh.modelId).not.toBe(resumed.modelId)
})

it('scores prompts in every way that the protocol has', async () => {
  const sampler = await service.createSamplingClient({ baseModel: MODEL })
  const prompt = ModelInput.fromInts([...PROMPT, 64, 75])
  const logprobs = await sampler.computeLogprobs(prompt)
  const response = await sampler.sample({
    prompt,
    samplingParams: { maxTokens: 2, temperature: 0 },
    includePromptLogprobs: true,
    topkPromptLogprobs: 3,
    topkSampleLogprobs: 2,
    targetPromptLogprobs: { data: [31, 42, 53, 64, 75], dtype: 'int64', shape: [5, 1] },
    promptAltTokensK: 2,
  })
  expect(response.promptLogprobs).toEqual(logprobs)
  expectClose(Array.from(response.targetPromptLogprobs!.data), logprobs.slice(1) as number[])
  expect(response.topkPromptLogprobs!.map((row) => row?.length)).toEqual([undefined, 3, 3, 3, 3, 3])
  expect(response.promptAltTokens!.tokens.shape).toEqual([5, 2])
  const [sequence] = response.sequences
  expect(sequence!.topkLogprobs![0]![0]![0]).toBe(sequence!.tokens[0])
  expect(sequence!.sequenceId).toMatch(/sample/)
  const last = await sampler.computeLogprobs(prompt, { promptLogprobsLastN: 2 })
  expect(last.slice(0, 4)).toEqual([null, null, null, null])
})

it('stops a sample on the server that nobody waits for any longer', async () => {
  const answers: number[] = []
  const fetch = async (url: string, init: RequestInit) => {
    const response = await globalThis.fetch(url, init)
    if (url.endsWith('/cancel_future')) answers.push(response.status)
    return response
  }
  const own = new ServiceClient({ baseUrl: server.url, apiKey: KEY, fetch })
  const sampler = await own.createSamplingClient({ baseModel: MODEL })
  const abort = new AbortController()
  const prompt = ModelInput.fromInts(PROMPT)
  const samplingParams = { maxTokens: 400, stop: [] }
  const sampled = sampler.sample({ prompt, numSamples: 16, samplingParams, signal: abort.signal })
  await sampled.submitted
  abort.abort(new Error('enough'))
  await expect(sampled).rejects.toThrow('enough')
  await vi.waitFor(() => expect(answers).toHaveLength(1))
  expect(answers[0]).toBeLessThan(300)
  await own.close()
})

it('asks of runs, checkpoints, sessions and use, and changes them', async () => {
  const training = await adapter(6)
  const { path } = await training.saveState('kept')
  const { path: external } = await training.saveWeightsExternal('out')
  const access = { baseUrl: server.url, apiKey: KEY }
  const rest = new RestClient(access)
  const stranger = new RestClient({ ...access, apiKey: OTHER_KEY })
  expect((await rest.getServerCapabilities()).supportedModels.map(({ modelName }) => modelName)).toContain(MODEL)
  expect((await rest.getTrainingRunByTinkerPath(path)).trainingRunId).toBe(training.modelId)
  expect((await rest.getWeightsInfoByTinkerPath(path)).loraRank).toBe(8)
  const { checkpoints } = await rest.listCheckpoints(training.modelId)
  expect(checkpoints.map(({ tinkerPath }) => tinkerPath).sort()).toEqual([external, path].sort())

  await expect(stranger.getWeightsInfoByTinkerPath(path)).rejects.toBeInstanceOf(NotFoundError)
  await rest.publishCheckpointFromTinkerPath(path)
  expect((await stranger.getWeightsInfoByTinkerPath(path)).baseModel).toBe(MODEL)
  await rest.unpublishCheckpointFromTinkerPath(path)
  await rest.setCheckpointTtlFromTinkerPath(path, 7200)
  const kept = async () => (await rest.listUserCheckpoints()).checkpoints.find((each) => each.tinkerPath === path)
  expect(Date.parse((await kept())!.expiresAt!)).toBeGreaterThan(Date.now() + 3600_000)
  await rest.setCheckpointTtlFromTinkerPath(path, null)
  expect((await kept())!.expiresAt ?? null).toBeNull()

  const { urls } = await rest.getExternalWeightsUrls(external)
  const config = (await (await fetch(urls['adapter_config.json']!)).json()) as { r: number }
  expect(config.r).toBe(8)
  const archive = await rest.getCheckpointArchiveUrl(path)
  expect((await fetch(archive.url)).status).toBe(200)
  expect(Date.parse(archive.expires)).toBeGreaterThan(Date.now())

  const session = training.modelId.split(':')[0]!
  expect((await rest.getSession(session)).userMetadata).toEqual({ of: 'the test' })
  expect((await rest.listSessions()).sessions).toContain(session)
  expect((await rest.searchSessions({ userMetadata: { of: 'the test' } })).sessions[0]?.sessionId).toBe(session)
  const admin = new AdminClient(access)
  const day = 86_400_000
  const usage = await admin.getBillingUsage(new Date(Date.now() - day), new Date(Date.now() + day))
  expect(usage.data.some(({ eventInfo }) => eventInfo.type === 'training')).toBe(true)
  expect((await admin.getAuditLog()).entries.length).toBeGreaterThan(0)
  expect((await admin.getCurrentCheckpointStorageUsage()).data[0]?.checkpointCount).toBeGreaterThan(0)
  await rest.deleteCheckpointFromTinkerPath(path)
  await expect(rest.getWeightsInfoByTinkerPath(path)).rejects.toBeInstanceOf(NotFoundError)
  await expect(rest.whoami()).rejects.toThrow('takes API keys as they are')
})

it('speaks the format of the model', async () => {
  const sampler = await service.createSamplingClient({ baseModel: MODEL })
  const tokenizer = await sampler.getTokenizer()
  expect(tokenizer.decode(tokenizer.encode('twinkle'), { skipSpecialTokens: true })).toBe('twinkle')
  const messages = [{ role: 'user', content: 'hello' }]
  const text = tokenizer.renderChatTemplate(messages, { addGenerationPrompt: true })
  expect(text).toContain('hello')
  expect(tokenizer.applyChatTemplate(messages, { addGenerationPrompt: true })).toEqual(
    tokenizer.encode(text, { addSpecialTokens: false }),
  )
})

it('draws the tokens that the Python SDK draws, and opens a sampler that it passes on, both ways', async ({ skip }) => {
  const python = await pythonEnv('sdk-0.38.0')
  if (python === null) {
    if (process.env.CI === 'true') throw new Error('no Python >= 3.11 with venv and pip runs here')
    return skip('no Python')
  }
  const sampler = await service.createSamplingClient({ baseModel: MODEL })
  const draw = async (client: SamplingClient) => {
    const samplingParams = { maxTokens: 12, seed: 77, temperature: 1 }
    const { sequences } = await client.sample({ prompt: ModelInput.fromInts(PROMPT), numSamples: 2, samplingParams })
    return sequences.map(({ tokens, logprobs }) => ({ tokens, logprobs }))
  }
  const mine = await draw(sampler)
  const home = await mkdtemp(join(tmpdir(), 'twinkle-home-'))
  const env = { PATH: process.env.PATH ?? '', HOME: home, TINKER_BASE_URL: server.url, TINKER_API_KEY: KEY }
  const script = fileURLToPath(new URL('sdk/twin.py', import.meta.url))
  const child = spawn(python, ['-W', 'ignore', script], { env: { ...env, PYTHONDONTWRITEBYTECODE: '1' } })
  const ended = new Promise((resolve) => child.once('close', resolve))
  try {
    const asked = {
      base_model: MODEL,
      prompt: PROMPT,
      seed: 77,
      max_tokens: 12,
      handle: await sampler.getSamplerHandle(),
    }
    child.stdin.write(`${JSON.stringify(asked)}\n`)
    const line = await new Promise<string>((resolve, reject) => {
      createInterface({ input: child.stdout }).once('line', resolve)
      child.once('close', (code) => reject(new Error(`Python ended with ${code}`)))
    })
    const theirs = JSON.parse(line) as { base: unknown; copy: unknown; handle: string }
    expect(theirs.base).toEqual(mine)
    expect(theirs.copy).toEqual(mine)
    const opened = SamplingClient.fromSamplerHandle(theirs.handle, { apiKey: KEY })
    expect(await draw(opened)).toEqual(mine)
    await opened.close()
  } finally {
    child.kill('SIGKILL')
    await ended
    await rm(home, { recursive: true })
  }
}, 120_000)
