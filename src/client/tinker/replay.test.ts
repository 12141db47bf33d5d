// What this client sends is what the Python SDK 0.38.0 was recorded to send, and it reads what that one was answered.
import { afterEach, expect, it } from 'vitest'
import { ModelInput, ServiceClient } from './index.ts'
import { type Replay, recorded, replay } from './testing/replay.ts'

let server: Replay
afterEach(() => server.close())

async function served(exchanges: Parameters<typeof replay>[0], options = {}): Promise<ServiceClient> {
  server = await replay(exchanges)
  return new ServiceClient({ baseUrl: server.url, apiKey: 'tml-test', ...options })
}

const start = () => recorded('01-start-session').filter(({ request }) => !request.path.endsWith('dynamic_config'))
const plainStart = () =>
  start().map((exchange) => {
    if (!exchange.request.path.endsWith('create_session')) return exchange
    const json = { tags: [], user_metadata: {}, type: 'create_session' }
    return { ...exchange, request: { ...exchange.request, body: { json } } }
  })
const created = () => [...plainStart(), ...recorded('02-create-model')]
const training = (service: ServiceClient) =>
  service.createLoraTrainingClient({ baseModel: 'org/tiny', rank: 8, seed: 7 })
const prompt = ModelInput.fromInts([1, 2, 3, 4])

it('begins a session, makes a model and finishes', async () => {
  const exchanges = [...start(), ...recorded('02-create-model'), ...recorded('11-finish')]
  const service = await served(exchanges, { userMetadata: { k: 'v' }, projectId: 'p1', displayName: 'my run' })
  const client = await training(service)
  expect([client.modelId, client.baseModel, client.loraRank]).toEqual(['sess-1:train:0', 'org/tiny', 8])
  await service.close('success', 'done')
  expect([server.differences, server.left()]).toEqual([[], 0])
})

it('trains in protobuf both ways', async () => {
  const service = await served([...created(), ...recorded('03-forward-backward')])
  const client = await training(service)
  const data = [
    { modelInput: ModelInput.fromInts([1, 2, 3]), lossFnInputs: { weights: [0, 1, 1], target_tokens: [2, 3, 4] } },
  ]
  const output = await client.forwardBackward(data, 'cross_entropy')
  await client.forwardBackward(data, 'ppo', { clip_low_threshold: 0.9, mode: 'x' })
  await client.forward(data, 'cross_entropy')
  expect(output).toEqual({
    lossFnOutputType: 'TorchLossReturn',
    lossFnOutputs: [{ logprobs: { data: new Float32Array([-2, -2, -2]), shape: [3] } }],
    metrics: { 'loss:sum': 4 },
  })
  expect([server.differences, server.left()]).toEqual([[], 0])
})

it('takes optimiser steps and saves', async () => {
  const saves = recorded('06-saves')
  const mine = [...saves.slice(0, 4), ...saves.slice(6, 8)]
  const service = await served([...created(), ...recorded('04-optim-step').slice(0, 2), ...mine])
  const client = await training(service)
  expect(await client.optimStep({ learningRate: 0.001 })).toEqual({ metrics: { 'grad_norm:mean': 1 } })
  const state = await client.saveState('a', { ttlSeconds: 3600, userMetadata: { step: '1' } })
  expect(state.path).toBe('tinker://sess-1:train:0/weights/a')
  const weights = await client.saveWeightsForSampler('s', { userMetadata: { a: 'b' } })
  expect(weights.path).toBe('tinker://sess-1:train:0/sampler_weights/s')
  expect((await client.saveWeightsAndGetSamplingClient()).samplingSessionId).toBe('sess-1:sample:0')
  expect([server.differences, server.left()]).toEqual([[], 0])
})

it('samples and scores', async () => {
  const [session] = recorded('08-sampling-client')
  const first = {
    ...session!,
    response: { ...session!.response, body: { json: { sampling_session_id: 'sess-1:sample:0' } } },
  }
  const service = await served([...plainStart(), first, ...recorded('07-sample').slice(0, 4)])
  const client = await service.createSamplingClient({ baseModel: 'org/tiny' })
  const samplingParams = { maxTokens: 3, seed: 4611686018427387904n, stop: ['x'], temperature: 0.5 }
  const { sequences } = await client.sample({ prompt, numSamples: 2, samplingParams })
  expect(sequences).toHaveLength(2)
  expect(sequences[1]).toEqual({
    tokens: [10, 11, 12],
    logprobs: [-1.5, -1.5, -1.5],
    stopReason: 'length',
    sequenceId: 'sess-1:sample:0:0:1',
  })
  expect(await client.computeLogprobs(prompt)).toEqual([null, -2, -2, -2])
  expect([server.differences, server.left()]).toEqual([[], 0])
})

it('samples a checkpoint by its path', async () => {
  const service = await served([...plainStart(), ...recorded('08-sampling-client').slice(1, 3)])
  const client = await service.createSamplingClient({ modelPath: 'tinker://sess-1:train:0/sampler_weights/s' })
  expect(client.baseModel).toBe('org/tiny')
  expect([server.differences, server.left()]).toEqual([[], 0])
})

it('loads into a live model and resumes by one load_weights', async () => {
  const service = await served([...created(), ...recorded('09-resume')])
  const client = await training(service)
  const path = 'tinker://sess-1:train:0/weights/a'
  await client.loadState(path)
  expect((await service.createTrainingClientFromState(path)).modelId).toBe('sess-1:train:1')
  const weightsAccessToken = 'tml-EXAMPLE-OTHER'
  const resumed = service.createTrainingClientFromStateWithOptimizer(path, { weightsAccessToken })
  // The recording ends before this one's get_info.
  await expect(resumed).rejects.toThrow('not recorded')
  expect(server.differences).toEqual(['nothing more was recorded: /api/v1/get_info'])
})
