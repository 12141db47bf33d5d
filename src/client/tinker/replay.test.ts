// What this client sends is what the Python SDK 0.38.0 was recorded to send, number for number, and it reads what that one
// was answered: most recordings are one session from its beginning to its end, and so is this test.
import { afterEach, describe, expect, it } from 'vitest'
import { ModelInput, type SamplingClient, ServiceClient, type TrainingClient } from './index.ts'
import { type Exchange, inSession, type Replay, recorded, replay } from './testing/replay.ts'

let server: Replay
afterEach(async () => {
  await server.close()
})

async function served(exchanges: readonly Exchange[]) {
  server = await replay(exchanges)
}

const access = () => ({ baseUrl: server.url, apiKey: 'tml-test', onMessage: () => {} })

function expectAllReplayed(): void {
  expect([server.differences, server.left()]).toEqual([[], []])
}

const NAMED = { userMetadata: { k: 'v' }, projectId: 'p1', displayName: 'my run' }
const prompt = ModelInput.fromInts([1, 2, 3, 4])
const data = [
  { modelInput: ModelInput.fromInts([1, 2, 3]), lossFnInputs: { weights: [0, 1, 1], target_tokens: [2, 3, 4] } },
]
const logprobs = { logprobs: { data: new Float32Array([-2, -2, -2]), shape: [3] } }

describe('one session of the recordings', () => {
  /** Two numbers of the session were used by what was not recorded. */
  function filler(seqId: number): Exchange[] {
    const [step, poll] = recorded('04-optim-step')
    const json = { ...step!.request.body!.json, seq_id: seqId }
    return [{ ...step!, request: { ...step!.request, body: { json } } }, poll!]
  }

  it('is replayed from its start to its finish', { timeout: 60_000 }, async () => {
    const resume = recorded('09-resume')
    const [getInfo] = resume.filter(({ request }) => request.path.endsWith('get_info'))
    const lastInfo = {
      ...inSession([getInfo!], 'sess-1:train:1', 'sess-1:train:2')[0]!,
    }
    const method = { 'x-sdk-method': 'ServiceClient.create_training_client_from_state_with_optimizer' }
    const exchanges = [
      ...recorded('01-start-session'),
      ...recorded('02-create-model'),
      ...recorded('03-forward-backward'),
      ...recorded('04-optim-step'),
      ...recorded('05-custom-loss'),
      ...filler(8),
      ...filler(9),
      ...recorded('06-saves'),
      ...recorded('07-sample'),
      ...recorded('08-sampling-client').slice(0, 3),
      ...resume,
      { ...lastInfo, request: { ...lastInfo.request, headers: { ...lastInfo.request.headers, ...method } } },
      ...recorded('11-finish'),
    ]
    await served(exchanges)
    const service = new ServiceClient({ ...access(), ...NAMED })
    const training = await service.createLoraTrainingClient({ baseModel: 'org/tiny', rank: 8, seed: 7 })
    expect([training.modelId, training.baseModel, training.loraRank]).toEqual(['sess-1:train:0', 'org/tiny', 8])
    expect(training.getInfo().modelData).toEqual({ modelName: 'org/tiny', arch: 'llama', tokenizerId: 'org/tiny' })

    await trains(training)
    await losesItsOwnWay(training)
    await training.optimStep({ learningRate: 0.001 })
    await training.optimStep({ learningRate: 0.001 })
    const sampler = await saves(training)
    await samples(sampler)
    expect((await service.createSamplingClient({ baseModel: 'org/tiny' })).baseModel).toBe('org/tiny')
    const path = 'tinker://sess-1:train:0/sampler_weights/s'
    expect((await service.createSamplingClient({ modelPath: path })).baseModel).toBe('org/tiny')
    await resumes(service, training)
    await service.close('success', 'done')
    expectAllReplayed()
  })

  async function trains(training: TrainingClient): Promise<void> {
    const output = await training.forwardBackward(data, 'cross_entropy')
    expect(output).toEqual({
      lossFnOutputType: 'TorchLossReturn',
      lossFnOutputs: [logprobs],
      metrics: { 'loss:sum': 4 },
    })
    await training.forwardBackward(data, 'ppo', { clip_low_threshold: 0.9, mode: 'x' })
    await training.forward(data, 'cross_entropy')
    expect(await training.optimStep({ learningRate: 0.001 })).toEqual({ metrics: { 'grad_norm:mean': 1 } })
    await training.optimStep({ type: 'dimuon', learningRate: 0.001 })
  }

  /** The sum of the squares of the log-probabilities. */
  async function losesItsOwnWay(training: TrainingClient): Promise<void> {
    const { metrics } = await training.forwardBackwardCustom(data, (_, [values]) => ({
      loss: values!.reduce((sum, value) => sum + value * value, 0),
      gradients: [values!.map((value) => 2 * value)],
      metrics: { 'mine:mean': 1 },
    }))
    expect(metrics).toEqual({ 'loss:sum': 12, 'surrogate_loss:sum': 24, 'mine:mean': 1 })
  }

  async function saves(training: TrainingClient): Promise<SamplingClient> {
    const state = await training.saveState('a', { ttlSeconds: 3600, userMetadata: { step: '1' } })
    expect(state.path).toBe('tinker://sess-1:train:0/weights/a')
    const weights = await training.saveWeightsForSampler('s', { userMetadata: { a: 'b' } })
    expect(weights.path).toBe('tinker://sess-1:train:0/sampler_weights/s')
    expect((await training.saveWeightsExternal('x')).path).toBe('tinker://sess-1:train:0/external_weights/x')
    const sampler = await training.saveWeightsAndGetSamplingClient()
    const inflight = await training.saveWeightsAndGetSamplingClient({ kind: 'inflight' })
    expect([sampler.samplingSessionId, inflight.samplingSessionId]).toEqual(['sess-1:sample:0', 'sess-1:sample:1'])
    return sampler
  }

  async function samples(sampler: SamplingClient): Promise<void> {
    const samplingParams = { maxTokens: 3, seed: 4611686018427387904n, stop: ['x'], temperature: 0.5 }
    const { sequences } = await sampler.sample({ prompt, numSamples: 2, samplingParams })
    const second = { tokens: [10, 11, 12], logprobs: [-1.5, -1.5, -1.5], stopReason: 'length' }
    expect(sequences[1]).toEqual({ ...second, sequenceId: 'sess-1:sample:0:0:1' })
    expect(await sampler.computeLogprobs(prompt)).toEqual([null, -2, -2, -2])
    expect(await sampler.computeLogprobs(prompt, { promptLogprobsLastN: 2 })).toEqual([null, null, -2, -2])
    const everything = await sampler.sample({
      prompt,
      samplingParams: { maxTokens: 2, stop: [] },
      includePromptLogprobs: true,
      topkPromptLogprobs: 3,
      topkSampleLogprobs: 2,
      targetPromptLogprobs: { data: [7], dtype: 'int64', shape: [3, 40], crowIndices: [0, 0, 0, 1], colIndices: [0] },
      promptAltTokensK: 2,
    })
    expect(everything.targetPromptLogprobs).toEqual({
      data: new Float32Array([-3]),
      shape: [3, 40],
      crowIndices: [0, 0, 0, 1],
      colIndices: [0],
    })
    expect(everything.promptAltTokens?.tokens).toEqual({ data: new Float64Array([5, 5, 5, 5, 5, 5]), shape: [3, 2] })
    expect(everything.promptAltTokens?.logprobs.shape).toEqual([3, 2])
    expect(everything.sequences[0]?.topkLogprobs).toHaveLength(2)
    expect(everything.topkPromptLogprobs?.[0]).toBeNull()
  }

  async function resumes(service: ServiceClient, training: TrainingClient): Promise<void> {
    const path = 'tinker://sess-1:train:0/weights/a'
    await training.loadState(path)
    expect((await service.createTrainingClientFromState(path)).modelId).toBe('sess-1:train:1')
    const weightsAccessToken = 'tml-EXAMPLE-OTHER'
    const resumed = await service.createTrainingClientFromStateWithOptimizer(path, { weightsAccessToken })
    expect(resumed.modelId).toBe('sess-1:train:2')
  }
})
