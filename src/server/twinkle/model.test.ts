// Training by Twinkle's protocol on a whole server with a fake engine: whose adapters are whose, what is due when, what a
// restart leaves, and that either protocol loads what the other saved. The real client and engine are openapi/conformance's.

import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { OperationId } from '../../generated/operations.ts'
import { type Json, TestServer } from '../testing/test-server.ts'

const server = new TestServer()
beforeAll(() => server.start())
afterAll(() => server.stop())

const ROW = { input_ids: [1, 2, 3, 4], labels: [2, 3, 4, -100], attention_mask: [1, 1, 1, 1] }

interface Client {
  readonly owner: string
  call(id: OperationId, body?: object, status?: number): Promise<Json>
}

/** A client with a session and an adapter `default` that is ready to be trained. */
async function newClient(config: unknown = { r: 4 }, more: object = {}): Promise<Client> {
  const { session_id: owner } = await server.call('twinkleCreateSession', { body: {} })
  const client = clientOf(owner)
  await client.call('modelAddAdapter', { config, ...more })
  await client.call('modelSetOptimizer', { optimizer_cls: 'AdamW', lr: 0.01 })
  return client
}

function clientOf(owner: string, key?: string): Client {
  const headers = { 'x-twinkle-session-id': owner }
  const sent = { params: { base: 'org/tiny' }, headers, ...(key && { key }) }
  return {
    owner,
    call: (id, body = {}, status) => server.call(id, { ...sent, body: { adapter_name: 'default', ...body } }, status),
  }
}

const stepsOf = async (client: Client): Promise<number> => {
  const { result } = await client.call('modelGetTrainConfigs')
  return Number(/^Steps: (\d+)$/m.exec(result)?.[1])
}

describe('an adapter', () => {
  it('is a training run of its owner and name, with what was asked for', async () => {
    const { owner, call } = await newClient('{"r": 4, "lora_alpha": 16, "_TWINKLE_TYPE_": "LoraConfig"}')
    const run = await server.call('twinkleGetRun', { params: { run_id: `${owner}-default` } })
    expect(run).toMatchObject({ base_model: 'org/tiny', lora_rank: 4, user_metadata: { adapter_name: 'default' } })
    const { result } = await call('modelGetTrainConfigs')
    expect(result).toContain('LoRA config: r=4, lora_alpha=16, target_modules=q_proj,k_proj,v_proj,o_proj,gate_proj')
    expect(result).toMatch(/^Optimizer: AdamW \(.*"?learningRate"?=0.01/m)
  })

  it('that is added again begins anew, under an id of its own', async () => {
    const { owner, call } = await newClient()
    await call('modelForwardBackward', { inputs: [ROW] })
    await call('modelStep')
    const again = await call('modelAddAdapter', { config: { r: 2 } })
    expect(again).toEqual({ status: 'ok', adapter_name: `${owner}-default-2` })
    expect(await stepsOf({ owner, call })).toBe(0)
    expect((await call('modelStep', {}, 400)).code).toBe('NO_OPTIMIZER')
  })

  it('is another one for another tenant that names the same owner', async () => {
    const name = '20261123_234042-d3a9b82a'
    const ids = []
    for (const key of ['tml-anna', 'tml-bert']) {
      const sent = { key, params: { base: 'org/tiny' }, headers: { serve_multiplexed_model_id: name } }
      ids.push((await server.call('modelAddAdapter', { ...sent, body: { adapter_name: 'a' } })).adapter_name)
    }
    expect(ids).toEqual([`${name}-a`, `${name}-a-2`])
    const sent = { key: 'tml-bert', params: { base: 'org/tiny' }, headers: { 'x-request-id': 'other' } }
    const unknown = await server.call('modelStep', { ...sent, body: { adapter_name: 'a' } }, 404)
    expect(unknown.code).toBe('UNKNOWN_ADAPTER')
  })

  it('needs no header at all: its owner is made from the key', async () => {
    const sent = { params: { base: 'org/tiny' }, key: 'tml-carl' }
    const { adapter_name } = await server.call('modelAddAdapter', { ...sent, body: { adapter_name: 'mine' } })
    expect(adapter_name).toMatch(/^key_[0-9a-f]{32}-mine$/)
    expect(await server.call('modelHeartbeat', { ...sent, body: { adapter_name: 'mine' } })).toEqual({ status: 'ok' })
  })

  it.each([
    [{ r: 0.5 }, 'INVALID_RANK'],
    [{ r: 1000 }, 'INVALID_RANK'],
    [{ r: -1 }, 'INVALID_LORA_CONFIG'],
    ['{', 'INVALID_LORA_CONFIG'],
    [{ lora_dropout: 0.1 }, 'UNSUPPORTED_LORA_FIELD'],
    [{ use_dora: true }, 'UNSUPPORTED_LORA_FIELD'],
    [{ rank_pattern: { q_proj: 2 } }, 'UNSUPPORTED_LORA_FIELD'],
    [{ target_modules: ['q_proj'] }, 'UNSUPPORTED_LORA_TARGETS'],
    [{ target_modules: '(a+)+$' }, 'UNSUPPORTED_LORA_TARGETS'],
  ])('with the configuration %j is refused as %s', async (config, code) => {
    const { session_id } = await server.call('twinkleCreateSession', { body: {} })
    const answer = await clientOf(session_id).call('modelAddAdapter', { config }, 400)
    expect(answer.code).toBe(code)
  })

  it.each([
    ['modelAddAdapter', { adapter_name: '../x' }, 'INVALID_ADAPTER_NAME'],
    ['modelSetLoss', { loss_cls: 'NoLoss' }, 'UNKNOWN_NAME'],
    ['modelSetLoss', { loss_cls: 'MSELoss' }, 'UNSUPPORTED_NAME'],
    ['modelSetLoss', { loss_cls: 'CrossEntropyLoss', nonsense: 1 }, 'UNKNOWN_ARGUMENT'],
    ['modelSetOptimizer', { optimizer_cls: '() => 1' }, 'UNKNOWN_NAME'],
    ['modelSetLrScheduler', { scheduler_cls: 'LambdaLR', lr_lambda: 'lambda x: 1' }, 'UNSUPPORTED_NAME'],
    ['modelSetProcessor', { processor_cls: 'os.system' }, 'UNKNOWN_NAME'],
    ['modelApplyPatch', { patch_cls: 'ms://some/code' }, 'UNKNOWN_PATCH'],
  ] as const)('%s %j is refused as %s', async (id, body, code) => {
    const client = await newClient()
    expect((await client.call(id, body, 400)).code).toBe(code)
  })
})

describe('a pass', () => {
  it('answers rows of the shape of the inputs, and counts what counts', async () => {
    const { call } = await newClient()
    const padded = { input_ids: [0, 1, 2], labels: [-100, 2, 3], attention_mask: [0, 1, 1], extra: 'stays away' }
    const { result } = await call('modelForwardBackward', { inputs: [ROW, padded] })
    expect(result.num_tokens).toBe(5)
    expect(result.logps.map((row: number[]) => row.map((value) => value === 0))).toEqual([
      [false, false, false, true],
      [true, false, false],
    ])
    const sum = result.logps.flat().reduce((a: number, b: number) => a + b, 0)
    expect(result.loss).toBeCloseTo(-sum, 4)
  })

  it('takes one row, or tensors of one row', async () => {
    const { call } = await newClient()
    const one = (await call('modelForwardOnly', { inputs: ROW })).result
    const nested = { input_ids: [ROW.input_ids], labels: [ROW.labels] }
    expect((await call('modelForwardOnly', { inputs: [nested] })).result).toEqual(one)
  })

  it('of the base model needs no adapter, and is what an untrained adapter says', async () => {
    const { owner, call } = await newClient()
    const base = (await call('modelForwardOnly', { inputs: [ROW], disable_lora: true })).result
    expect(base.logps[0]).toHaveLength(4)
    const sent = { params: { base: 'org/tiny' }, headers: { 'x-twinkle-session-id': owner } }
    const without = await server.call('modelForwardOnly', { ...sent, body: { adapter_name: null, inputs: [ROW] } })
    expect(without.result).toEqual(base)
  })

  it.each([
    [{ inputs: [] }, 'NO_DATA'],
    [{ inputs: [{ text: 'a' }] }, 'INVALID_ROW'],
    [{ inputs: [{ input_ids: [1] }] }, 'UNFIT_ROW'],
    [{ inputs: [{ input_ids: [1], labels: [1, 2] }] }, 'UNFIT_ROW'],
    [{ inputs: [{ input_ids: ['a'], labels: [1] }] }, 'UNFIT_ROW'],
    [{ inputs: [{ input_ids: [1e9], labels: [1] }] }, 'INVALID_INPUT'],
    [{ inputs: [{ input_ids: [1], labels: [1], pixel_values: [1] }] }, 'UNFIT_ROW'],
    [{ inputs: [{ input_ids: [1, 2], labels: [1, 2], position_ids: [0, 0] }] }, 'UNFIT_ROW'],
    [{ inputs: [ROW], temperature: 0.5 }, 'UNSUPPORTED_KEYWORD'],
    [{ inputs: [ROW], task: 'seq_cls' }, 'UNSUPPORTED_KEYWORD'],
    [{ inputs: [ROW], task: 'embedding' }, 'UNFIT_ROW'],
    [{ inputs: [{ input_ids: [1], labels: [1] }], task: 'embedding' }, 'UNFIT_TASK'],
    [{ inputs: [ROW], advantages: [1, 2] }, 'UNFIT_ROW'],
  ])('over %j is refused as %s', async (body, code) => {
    const { call } = await newClient()
    expect((await call('modelForwardBackward', body, 400)).code).toBe(code)
  })

  it('over conversations is encoded with the template that was set', async () => {
    const { call } = await newClient()
    const messages = [
      { role: 'user', content: 'Hi' },
      { role: 'assistant', content: 'Hello' },
    ]
    await call('modelSetTemplate', { template_cls: 'Template', model_id: 'ms://org/tiny', max_length: 64 })
    const { result } = await call('modelForwardBackward', { inputs: [{ messages }] })
    expect(result.num_tokens).toBeGreaterThan(0)
    expect(result.num_tokens).toBeLessThan(result.logps[0].length)
    const plain = { template_cls: 'Template', use_chat_template: false }
    expect(await call('modelSetTemplate', plain)).toBeNull()
    expect((await call('modelSetTemplate', { ...plain, model_id: 'other/model' }, 400)).code).toBe(
      'UNSUPPORTED_KEYWORD',
    )
    expect((await call('modelSetTemplate', { template_cls: 'NoTemplate' }, 400)).code).toBe('UNKNOWN_NAME')
  })

  it('of a long conversation lets others through while it is encoded', async () => {
    const { call } = await newClient()
    const messages = Array.from({ length: 300 }, (_, i) => ({ role: i % 2 ? 'assistant' : 'user', content: 'hi' }))
    const ended: string[] = []
    // It is too long for the model, which is seen when it is encoded.
    const pass = call('modelForwardBackward', { inputs: [{ messages }] }, 400).then(() => ended.push('pass'))
    await server.call('modelCreate', { params: { base: 'org/tiny' }, body: {} }).then(() => ended.push('other'))
    await pass
    expect(ended).toEqual(['other', 'pass'])
  })

  it('is counted by metrics, which begin anew when they are asked', async () => {
    const { call } = await newClient()
    await call('modelAddMetric', { metric_cls: 'DPOMetric', is_training: true, beta: 0.1 })
    expect((await call('modelForwardBackward', { inputs: [ROW] }, 400)).detail).toContain('DPOMetric needs pairs')
    const ref_outputs = (await call('modelForwardOnly', { inputs: [ROW, ROW], disable_lora: true })).result
    await call('modelForwardBackward', { inputs: [ROW, ROW], ref_outputs })
    await call('modelClipGradAndStep')
    const { result } = await call('modelCalculateMetric')
    expect(result).toMatchObject({ 'rewards/margins': '0.0000', iters: 1 })
    expect(result.loss).toMatch(/^\d+\.\d{4}$/)
    expect((await call('modelCalculateMetric')).result).not.toHaveProperty('rewards/margins')
    await call('modelForwardOnly', { inputs: [ROW] })
    expect(Number((await call('modelCalculateMetric', { is_training: false })).result.loss)).toBeGreaterThan(0)
  })

  it('can be made in three parts, each forward with one backward', async () => {
    const whole = await newClient()
    const parts = await newClient()
    const { result } = await whole.call('modelForwardBackward', { inputs: [ROW] })
    expect((await parts.call('modelBackward', {}, 400)).code).toBe('NO_BATCH')
    expect((await parts.call('modelForward', { inputs: [ROW] })).result).toEqual(result)
    expect((await parts.call('modelCalculateLoss')).result).toBeCloseTo(result.loss, 6)
    expect(await parts.call('modelBackward')).toBeNull()
    expect((await parts.call('modelBackward', {}, 400)).code).toBe('NO_BATCH')
    const norm = (await whole.call('modelClipGradNorm')).result
    expect(norm).toMatch(/^\d+\.\d{6}$/)
    expect((await parts.call('modelClipGradNorm')).result).toBe(norm)
  })
})

describe('an update', () => {
  it('is due after every so many passes', async () => {
    const { owner, call } = await newClient({ r: 4 }, { gradient_accumulation_steps: 2 })
    const pass = () => call('modelForwardBackward', { inputs: [ROW] })
    const update = async () => {
      const { result } = await call('modelClipGradNorm')
      for (const id of ['modelStep', 'modelZeroGrad', 'modelLrStep'] as const) expect(await call(id)).toBeNull()
      return result
    }
    await pass()
    expect(await update()).toBe('None')
    expect(await stepsOf({ owner, call })).toBe(0)
    await pass()
    expect(Number(await update())).toBeGreaterThan(0)
    expect(await stepsOf({ owner, call })).toBe(1)
    await pass()
    expect(await update()).toBe('None')
    await pass()
    expect(await call('modelClipGradAndStep', { max_grad_norm: 1 })).toBeNull()
    expect(await stepsOf({ owner, call })).toBe(2)
  })

  it('moves the learning rate as its scheduler says', async () => {
    const { call } = await newClient()
    expect((await clientOf((await newClient()).owner).call('modelHeartbeat')).status).toBe('ok')
    await call('modelSetLrScheduler', { scheduler_cls: 'StepLR', step_size: 1, gamma: 0.5 })
    await call('modelForwardBackward', { inputs: [ROW] })
    await call('modelClipGradAndStep')
    expect((await call('modelGetTrainConfigs')).result).toContain('Learning rate: 0.005')
  })

  it('is in the order in which calls came, also when nobody waits for answers', async () => {
    const { owner, call } = await newClient()
    const calls = [1, 2, 3].flatMap(() => [
      call('modelForwardBackward', { inputs: [ROW] }),
      call('modelClipGradAndStep'),
    ])
    await Promise.all(calls)
    expect(await stepsOf({ owner, call })).toBe(3)
  })

  it('by the first generation answers objects, and paths where it saves', async () => {
    const { owner } = await newClient()
    const headers = { 'x-api-key': 'tml-anna', 'x-twinkle-session-id': owner, 'content-type': 'application/json' }
    const post = async (op: string, body: object) => {
      const sent = JSON.stringify({ adapter_name: 'default', ...body })
      const answer = await fetch(`${server.url}/models/org/tiny/${op}`, { method: 'POST', headers, body: sent })
      return (await answer.json()) as Json
    }
    expect((await post('forward_backward', { inputs: [ROW] })).result.num_tokens).toBe(3)
    expect(await post('step', {})).toEqual({ result: null })
    const { result } = await post('save', { name: 'epoch 1' })
    expect(result).toBe(`twinkle://${owner}-default/weights/epoch_1`)
    expect(await post('load', { name: result })).toEqual({ result: null })
  })
})

describe('what was saved', () => {
  it('is loaded with optimiser and progress', async () => {
    const first = await newClient()
    await first.call('modelForwardBackward', { inputs: [ROW] })
    await first.call('modelClipGradAndStep')
    const saved = await first.call('modelSave', { name: 'a', save_optimizer: true, consumed_train_samples: 12 })
    const second = await newClient({ r: 4 }, { gradient_accumulation_steps: 3 })
    expect((await second.call('modelResumeFromCheckpoint', { name: saved.twinkle_path })).result).toEqual({
      cur_step: 1,
      consumed_train_samples: 12,
      gradient_accumulation_steps: 1,
    })
    expect(await stepsOf(second)).toBe(1)
    const only = { name: saved.twinkle_path, resume_only_model: true }
    expect((await second.call('modelResumeFromCheckpoint', only)).result.cur_step).toBe(0)
  })

  it('without an optimiser cannot give one back', async () => {
    const { call } = await newClient()
    const { twinkle_path: name } = await call('modelSave', { name: 'a' })
    expect((await call('modelResumeFromCheckpoint', { name }, 400)).code).toBe('NO_OPTIMIZER_STATE')
    expect(await call('modelLoad', { name })).toBeNull()
    expect((await call('modelLoad', { name: 'missing' }, 404)).code).toBe('CHECKPOINT_NOT_FOUND')
    for (const place of ['file:///etc/passwd', '../../etc', 'twinkle://a/b']) {
      const answer = await call('modelLoad', { name: place }, 400)
      expect(answer.detail).not.toContain('/state')
    }
  })

  it('is the same for either protocol', async () => {
    const { owner, call } = await newClient()
    const run = `${owner}-default`
    const { twinkle_path } = await call('modelSave', { name: 'native', save_optimizer: true })
    const session_id = await server.newSession()
    const resumed = { session_id, model_seq_id: 0, path: twinkle_path, optimizer: true }
    const model = (await server.result('loadWeights', { body: resumed })).model_id
    const path = await server.save(model, 'by-tinker')
    expect(await call('modelLoad', { name: path, load_optimizer: true })).toBeNull()
    expect(await server.call('getInfo', { body: { model_id: run } })).toMatchObject({ lora_rank: 4 })
  })

  it('for a sampler has a path of its own each time; the one before goes', async () => {
    const { owner, call } = await newClient()
    const first = (await call('modelSave', { name: 's', is_sampler: true })).twinkle_path
    const second = (await call('modelSave', { name: 's', is_sampler: true })).twinkle_path
    expect(first).not.toBe(second)
    const { checkpoints } = await server.call('twinkleListCheckpoints', { params: { run_id: `${owner}-default` } })
    expect(checkpoints.map((c: Json) => c.twinkle_path)).toEqual([second])
  })

  it('is not uploaded to a hub, and that is said', async () => {
    const { call } = await newClient()
    const checkpoint_dir = await call('modelSave', { name: 'a' })
    expect((await call('modelUploadToHub', { checkpoint_dir, hub_model_id: 'a/b' }, 400)).code).toBe('NO_HUB')
  })
})

describe('a restart', () => {
  it('leaves settings and progress as they were', async () => {
    const client = await newClient({ r: 4 }, { gradient_accumulation_steps: 2 })
    await client.call('modelSetLoss', { loss_cls: 'cross_entropy', reduction: 'mean' })
    await client.call('modelForwardBackward', { inputs: [ROW] })
    const before = (await client.call('modelGetTrainConfigs')).result
    await server.restart()
    expect((await client.call('modelGetTrainConfigs')).result).toBe(before)
    // The pass of before counts: with one more of them an update is due.
    await client.call('modelForwardBackward', { inputs: [ROW] })
    await client.call('modelClipGradAndStep')
    expect(await stepsOf(client)).toBe(1)
  })
})

describe('a pass whose caller went away', () => {
  it('is over before what is asked next begins', async () => {
    const client = await newClient()
    const gate = server.backend.engines.at(-1)?.block('train')
    const leaving = new AbortController()
    const body = { adapter_name: 'default', inputs: [ROW] }
    const sent = { params: { base: 'org/tiny' }, headers: { 'x-twinkle-session-id': client.owner }, body }
    const pass = server.send('modelForwardBackward', { ...sent, signal: leaving.signal })
    await gate?.entered
    leaving.abort()
    await expect(pass).rejects.toThrow('abort')
    const step = client.call('modelClipGradAndStep')
    // Others are answered in the meantime: it waits for nothing but the pass.
    for (let i = 0; i < 3; i++) await server.call('modelCreate', { params: sent.params, body: {} })
    gate?.open()
    await step
    expect(await stepsOf(client)).toBe(1)
  })
})

describe('a session that is over', () => {
  it('is not found, instead of ending a loop without a word', async () => {
    const { owner, call } = await newClient()
    const sent = { params: { session_id: owner }, body: { reason: { type: 'success' } } }
    await server.call('finishSession', sent)
    const answer = await call('modelForwardBackward', { inputs: [ROW] }, 404)
    expect(['SESSION_OVER', 'MODEL_GONE']).toContain(answer.code)
  })
})
