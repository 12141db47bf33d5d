// What bad input gets, over raw HTTP from the real server process: an error at once that names the thing, what there is
// instead and what to do next; and the next good request is served, by the same model.

import { cp, mkdtemp, readFile, rm, truncate, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { EMBEDDED_MODEL } from '../../src/server/config-fields.ts'
import { datum, float32, int64, PROTOBUF, RawClient, type RawModel, type Refusal } from './raw-client.ts'
import { type ServerProcess, startServerProcess } from './server-process.ts'

const MODEL = EMBEDDED_MODEL.name
const KEY = 'tml-bad-input'
const BODY_LIMIT = 2 ** 20
const CONTEXT = 512
const VOCABULARY = 512
/** At once, on a machine that may be busy with other tests. */
const FAST_MS = 10_000

let server: ServerProcess
let client: RawClient

beforeAll(async () => {
  server = await startServerProcess({ keys: [KEY], flags: ['--body-limit-bytes', String(BODY_LIMIT)] })
  client = new RawClient(server.url, KEY)
})
afterAll(() => server.stop())

/** One sentence of the user's mistake that says every one of these words, whatever their case. */
function expectRefusal(refusal: Refusal, ...words: string[]): void {
  expect(refusal.category).toBe('user')
  for (const word of words) expect(refusal.message.toLowerCase()).toContain(word.toLowerCase())
}

describe('a model under training', () => {
  let model: RawModel
  let started: number
  const TARGETS = { target_tokens: int64([21, 22, 23]) }
  const TOKENS = [20, 21, 22]

  beforeEach(async () => {
    model = await client.model(MODEL)
    started = performance.now()
  })
  afterEach(async () => {
    expect(performance.now() - started).toBeLessThan(FAST_MS)
    expect(await model.loss()).toBeGreaterThan(0)
  })

  const training: Record<
    string,
    { datum: Parameters<RawModel['refusedTraining']>[0]; loss?: string; words: string[] }
  > = {
    'an unknown loss': { datum: datum(TOKENS, TARGETS), loss: 'cross_entorpy', words: ['cross_entorpy', 'ppo', 'dro'] },
    'no targets': { datum: datum(TOKENS, {}), words: ['target_tokens'] },
    'a missing tensor': {
      datum: datum(TOKENS, { ...TARGETS, advantages: float32([1, 1, 1]) }),
      loss: 'ppo',
      words: ['logprobs'],
    },
    'NaN in a tensor': {
      datum: datum(TOKENS, { ...TARGETS, weights: float32([1, Number.NaN, 1]) }),
      words: ['weights', 'NaN', 'position 1', 'finite'],
    },
    'infinity in a tensor': {
      datum: datum(TOKENS, { ...TARGETS, weights: float32([1, 1, Number.NEGATIVE_INFINITY]) }),
      words: ['weights', 'Infinity'],
    },
    'a wrong shape': {
      datum: datum(TOKENS, { ...TARGETS, weights: float32([1, 1]) }),
      words: ['weights', '[2]', '[3]'],
    },
    'a shape that its bytes do not have': {
      datum: datum(TOKENS, { ...TARGETS, weights: { ...float32([1, 1]), shape: [3] } }),
      words: ['weights'],
    },
    'a token outside the vocabulary': {
      datum: datum([20, VOCABULARY, 22], TARGETS),
      words: [String(VOCABULARY), 'vocabulary'],
    },
    'a negative token': { datum: datum([20, -1, 22], TARGETS), words: ['-1'] },
    'a target outside the vocabulary': {
      datum: datum(TOKENS, { target_tokens: int64([21, 22, 2 ** 40]) }),
      words: ['target_tokens'],
    },
    'more tokens than the context': {
      datum: datum(Array(CONTEXT + 1).fill(20), { target_tokens: int64(Array(CONTEXT + 1).fill(20)) }),
      words: [String(CONTEXT + 1), String(CONTEXT)],
    },
    'an image for a text model': {
      datum: {
        model_input: [{ image: { data: new Uint8Array(8), format: 'png', expected_tokens: 3 } }],
        loss_fn_inputs: TARGETS,
      },
      words: ['image', 'encoded_text'],
    },
    'no tokens': { datum: datum([], { target_tokens: int64([]) }), words: ['no tokens'] },
  }
  for (const [name, { datum, loss, words }] of Object.entries(training)) {
    it(`refuses ${name}`, async () => expectRefusal(await model.refusedTraining(datum, loss), ...words))
  }

  it('refuses malformed protobuf, and goes on with the next number', async () => {
    const good = model.trainBytes(datum(TOKENS, TARGETS))
    const refusal = await client.refusal('forward_backward', good.subarray(0, good.length - 3), {
      'content-type': PROTOBUF,
    })
    expect(refusal.status).toBe(400)
    expectRefusal(refusal, 'ForwardBackwardRequest', 'tinker_public.proto')
  })

  it('refuses dro without beta: there is no default for it', async () => {
    const inputs = { ...TARGETS, logprobs: float32([-1, -1, -1]), advantages: float32([1, 1, 1]) }
    expectRefusal(await model.refusedTraining(datum(TOKENS, inputs), 'dro'), 'dro', 'beta')
  })

  it('refuses the step that an absurd learning rate would leave without numbers, and keeps the adapter', async () => {
    const before = await model.loss()
    const adam = { learning_rate: 1e38, beta1: 0.9, beta2: 0.95, eps: 1e-12, weight_decay: 1e5, grad_clip_norm: 0 }
    expectRefusal(await client.refusal('optim_step', { ...model.next(), adam_params: adam }))
    expect(await model.loss()).toBeCloseTo(before, 5)
  })

  it('refuses another optimiser by its name', async () => {
    const optimizer_params = { type: 'dimuon', learning_rate: 0.001 }
    expectRefusal(await client.refusal('optim_step', { ...model.next(), optimizer_params }), 'dimuon', 'adamw')
  })

  it('refuses a checkpoint name that is a path', async () => {
    expectRefusal(await client.refusal('save_weights', { ...model.next(), path: '../../x' }), '../../x', 'letters')
  })
})

describe('sampling', () => {
  const base = { base_model: MODEL, num_samples: 1, sampling_params: { max_tokens: 4 } }
  const prompt = (tokens: number[]) => ({ chunks: [{ type: 'encoded_text', tokens }] })

  afterEach(async () => {
    const { body } = await client.post('asample', { ...base, prompt: prompt([20, 21]) })
    const { body: result } = await client.result(String(body.request_id))
    expect(result).toHaveProperty('sequences')
  })

  const bad: Record<string, { body: object; words: string[] }> = {
    'an unknown base model': {
      body: { ...base, base_model: 'nobody/nothing', prompt: prompt([20]) },
      words: ['nobody/nothing', MODEL],
    },
    'a token outside the vocabulary': { body: { ...base, prompt: prompt([VOCABULARY]) }, words: ['512', 'vocabulary'] },
    'a prompt beyond the context': {
      body: { ...base, prompt: prompt(Array(CONTEXT + 1).fill(20)) },
      words: ['513', '512'],
    },
    'an image chunk': {
      body: { ...base, prompt: { chunks: [{ type: 'image', data: 'AAAA', format: 'png' }] } },
      words: ['image', 'encoded_text'],
    },
    'a temperature below 0': {
      body: { ...base, prompt: prompt([20]), sampling_params: { max_tokens: 4, temperature: -1 } },
      words: ['temperature', '-1'],
    },
    'no prompt': { body: base, words: ['prompt'] },
  }
  for (const [name, { body, words }] of Object.entries(bad)) {
    it(`refuses ${name}`, async () => expectRefusal(await client.refusal('asample', body), ...words))
  }
})

describe('the door', () => {
  afterEach(async () => {
    expect(await client.session()).toBeTruthy()
  })

  it('refuses an unknown base model with the list of what is served', async () => {
    const body = {
      session_id: await client.session(),
      model_seq_id: 0,
      base_model: 'twinkle/tyni',
      lora_config: { rank: 4 },
    }
    expectRefusal(await client.refusal('create_model', body), 'twinkle/tyni', `Did you mean "${MODEL}"`)
  })

  it('refuses rank 0 with what a rank may be', async () => {
    const body = { session_id: await client.session(), model_seq_id: 0, base_model: MODEL, lora_config: { rank: 0 } }
    expectRefusal(await client.refusal('create_model', body), 'rank', '1')
  })

  it('refuses a wrong key, and no key', async () => {
    expect(await new RawClient(server.url, 'tml-wrong').post('create_session', {})).toMatchObject({ status: 401 })
    const response = await fetch(`${server.url}/api/v1/create_session`, { method: 'POST', body: '{}' })
    expect(response.status).toBe(401)
    expect(await response.text()).toContain('X-API-Key')
  })

  it('refuses JSON of the wrong type, naming the field', async () => {
    for (const [body, word] of [
      ['[1, 2]', 'object'],
      ['"text"', 'object'],
      ['{"tags": "one"}', 'tags'],
    ] as const) {
      const { status, body: answer } = await client.post('create_session', body)
      expect([status, String(answer.detail)]).toEqual([400, expect.stringContaining(word)])
    }
  })

  it('refuses what is no JSON', async () => {
    const { status, body } = await client.post('create_session', '{"tags": [')
    expect([status, body.detail]).toEqual([400, expect.stringContaining('JSON')])
  })

  it('refuses a media type that it does not read', async () => {
    const { status, body } = await client.post('create_session', 'a=b', { 'content-type': 'text/plain' })
    expect([status, body.detail]).toEqual([415, expect.stringContaining('application/json')])
  })

  it('refuses a body over the limit', async () => {
    const { status, body } = await client.post('create_session', { tags: ['x'.repeat(BODY_LIMIT)] })
    expect([status, body.detail]).toEqual([413, expect.stringContaining(String(BODY_LIMIT))])
  })

  it('refuses a zstd bomb: 4 kB that would become 128 MB', async () => {
    const headers = { 'content-type': PROTOBUF, 'content-encoding': 'zstd' }
    const started = performance.now()
    const { status, body } = await client.post('forward_backward', zstdOfZeros(1024), headers)
    expect([status, body.detail]).toEqual([413, expect.stringContaining('zstd')])
    expect(performance.now() - started).toBeLessThan(FAST_MS)
  })

  it('refuses bytes that are no zstd frame', async () => {
    const headers = { 'content-type': PROTOBUF, 'content-encoding': 'zstd' }
    expect(await client.post('forward_backward', Uint8Array.of(1, 2, 3), headers)).toMatchObject({ status: 400 })
  })
})

describe('twinkle serve', () => {
  let folder: string
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'twinkle-bad-model-'))
  })
  afterAll(() => rm(folder, { recursive: true, force: true }))

  const complaint = (flags: string[]) =>
    startServerProcess({ flags }).then(
      async (started) => `it started: ${await started.stop()}`,
      (error: Error) => error.message,
    )
  /** A copy of the embedded model that may be damaged. */
  async function copy(name: string): Promise<string> {
    const target = join(folder, name)
    await cp(EMBEDDED_MODEL.path, target, { recursive: true })
    return target
  }

  it('names a port in use, and how to pick another', async () => {
    const other = createServer().listen(0, '127.0.0.1')
    await new Promise((resolve) => other.once('listening', resolve))
    const { port } = other.address() as AddressInfo
    expect(await complaint(['--port', String(port)])).toMatch(new RegExp(`exit code [1-9].*${port}.*--port`, 's'))
    other.close()
  })

  it('names a model folder that is not there', async () => {
    expect(await complaint(['--model', `mine=${join(folder, 'nowhere')}`])).toMatch(/exit code [1-9].*nowhere/s)
  })

  it('names a model file that is cut short', async () => {
    const model = await copy('cut')
    await truncate(join(model, 'model.safetensors'), 100_000)
    expect(await complaint(['--model', `mine=${model}`])).toMatch(/exit code [1-9].*model\.safetensors/s)
  })

  it('names an architecture that it cannot run, and those that it can', async () => {
    const model = await copy('mamba')
    const config = JSON.parse(await readFile(join(model, 'config.json'), 'utf8'))
    await writeFile(
      join(model, 'config.json'),
      JSON.stringify({ ...config, architectures: ['MambaForCausalLM'], model_type: 'mamba' }),
    )
    expect(await complaint(['--model', `mine=${model}`])).toMatch(/exit code [1-9].*mamba.*llama/is)
  })
})

/** One zstd frame of `blocks` run-length blocks, each 128 KiB of zeros in four bytes; no size announced. */
function zstdOfZeros(blocks: number): Uint8Array {
  const RLE = 1
  const size = 128 * 1024
  const bytes = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x50]
  for (let i = 0; i < blocks; i++) {
    const header = (size << 3) | (RLE << 1) | (i === blocks - 1 ? 1 : 0)
    bytes.push(header & 255, (header >> 8) & 255, header >> 16, 0)
  }
  return Uint8Array.from(bytes)
}
