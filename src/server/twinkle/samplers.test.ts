// Sampler routes on a server whose model says what a test wants (openai/testing): answers as Twinkle's clients read them.

import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { IGNORED } from '../../catalogue/rows.ts'
import { ScriptedServer } from '../openai/testing/scripted-server.ts'
import { openDatabase } from '../store/database.ts'
import type { Json } from '../testing/test-server.ts'

const scripted = new ScriptedServer()
const { server } = scripted
let session: string

beforeAll(async () => {
  await scripted.start()
  session = (await server.call('twinkleCreateSession', { body: {} })).session_id
})
afterAll(() => scripted.stop())
beforeEach(() => scripted.say('Hello.'))

const params = { base: 'org/tiny' }
const asked = (body: object, owner = session) => ({ params, headers: { 'x-twinkle-session-id': owner }, body })
const CHAT = { messages: [{ role: 'user', content: 'Hi' }] }
const IDS = { input_ids: [10, 11, 12] }
const sample = async (body: object, status?: number): Promise<Json> => {
  const answer = await server.call(
    'samplerSample',
    asked({ inputs: [CHAT], adapter_name: '', num_samples: 1, ...body }),
    status,
  )
  return status === undefined ? answer.samples : answer
}
const drawn = () => scripted.lastRequest

describe('a conversation', () => {
  it('is answered by the template of the model, with a row that can be trained on', async () => {
    const [{ sequences, prompt_logprobs, topk_prompt_logprobs }] = await sample({ inputs: CHAT })
    expect(scripted.lastPrompt).toBe('<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n')
    const [{ stop_reason, tokens, logprobs, decoded, new_input_feature: row }] = sequences
    expect({ stop_reason, logprobs, decoded }).toEqual({
      stop_reason: 'stop',
      logprobs: null,
      decoded: 'Hello.<|im_end|>',
    })
    const prompt = [...drawn().prompt]
    expect(row.input_ids).toEqual([...prompt, ...tokens])
    // Shifted: the last place of the prompt predicts the first drawn token.
    expect(row.labels).toEqual([...prompt.slice(1).map(() => IGNORED), ...tokens, IGNORED])
    expect(row.messages).toEqual([...CHAT.messages, { role: 'assistant', content: 'Hello.' }])
    expect([prompt_logprobs, topk_prompt_logprobs]).toEqual([null, null])
  })

  it('finds calls of tools in what was drawn', async () => {
    scripted.say('Sure.<tool_call>{"name": "add", "arguments": {"a": 1}}</tool_call>')
    const [{ sequences }] = await sample({
      inputs: [{ ...CHAT, tools: [{ type: 'function', function: { name: 'add' } }] }],
    })
    expect(scripted.lastPrompt).toContain('[tools]add;')
    expect(sequences[0].new_input_feature.messages.at(-1)).toEqual({
      role: 'assistant',
      content: 'Sure.',
      tool_calls: [{ type: 'function', function: { name: 'add', arguments: { a: 1 } } }],
    })
  })

  it('goes on in a second turn, whose row keeps what was learned in the first', async () => {
    const [{ sequences }] = await sample({})
    const first = sequences[0].new_input_feature
    const bridge = scripted.encode('\n<|im_start|>user\nSure?<|im_end|>\n<|im_start|>assistant\n')
    const prompt = {
      ...first,
      input_ids: [...first.input_ids, ...bridge],
      labels: [...first.labels, ...bridge.map(() => IGNORED)],
    }
    scripted.say('Yes.')
    const [{ sequences: second }] = await sample({ inputs: [prompt] })
    const learned = second[0].new_input_feature.labels.filter((label: number) => label !== IGNORED)
    expect(learned).toEqual([...sequences[0].tokens, ...second[0].tokens])
  })
})

describe('rows of ids', () => {
  it('are drawn from as they are, each on its own', async () => {
    scripted.say('A', 'B')
    const samples = await sample({
      inputs: [IDS, { input_ids: [[7, 8]], labels: [[8, IGNORED]], id: 3 }],
      num_samples: 2,
    })
    expect(samples.map(({ sequences }: Json) => sequences.map(({ decoded }: Json) => decoded))).toEqual([
      ['A<|im_end|>', 'B<|im_end|>'],
      ['A<|im_end|>', 'B<|im_end|>'],
    ])
    const row = samples[1].sequences[0].new_input_feature
    expect(row).toMatchObject({ id: 3, length: row.input_ids.length })
    expect(row.input_ids.slice(0, 2)).toEqual([7, 8])
    expect(row).not.toHaveProperty('messages')
  })

  it.each<[string, unknown, number, string]>([
    ['no row', [{}], 400, 'INVALID_SAMPLER_INPUT'],
    ['no tokens', [{ input_ids: [] }], 400, 'INVALID_SAMPLER_INPUT'],
    ['ids that are none', [{ input_ids: [1.5] }], 400, 'INVALID_SAMPLER_INPUT'],
    ['two rows in one', [{ input_ids: [[1], [2]] }], 400, 'INVALID_SAMPLER_INPUT'],
    ['an image', [{ messages: [{ role: 'user', content: [{ type: 'image', image: 'x' }] }] }], 400, 'UNSUPPORTED_NAME'],
    ['a prompt beyond the context', [{ input_ids: Array(600).fill(5) }], 400, 'INVALID_INPUT'],
  ])('refused: %s', async (_, inputs, status, code) => expect((await sample({ inputs }, status)).code).toBe(code))
})

describe('how many', () => {
  it.each([
    [{ num_samples: 1, sampling_params: { num_samples: 3 } }, 3],
    [{ num_samples: 2, sampling_params: {} }, 2],
    [{ num_samples: 2, sampling_params: null }, 2],
    [{ num_samples: null }, 1],
  ])('%j: %d', async (body, count) => expect((await sample(body))[0].sequences).toHaveLength(count))
})

describe('parameters', () => {
  it('reach the engine', async () => {
    const sampling_params = {
      max_new_tokens: 5,
      temperature: 0.5,
      top_k: -1,
      top_p: 0.9,
      seed: 7,
      stop: ['END'],
      repetition_penalty: 1,
    }
    await sample({ sampling_params })
    expect(drawn()).toMatchObject({
      maxTokens: 5,
      temperature: 0.5,
      topK: 0,
      topP: 0.9,
      seed: '7',
      stopStrings: ['END'],
    })
    await sample({ sampling_params: { top_k: 4, stop: [9, 10] } })
    expect(drawn()).toMatchObject({
      topK: 4,
      temperature: 1,
      stopStrings: [],
      stopTokens: expect.arrayContaining([9, 10, 2]),
    })
  })

  it('a length that ends it is told', async () => {
    scripted.sayOn('Hello there')
    const [{ sequences }] = await sample({ sampling_params: { max_tokens: 2 } })
    expect(sequences[0]).toMatchObject({ stop_reason: 'length', tokens: { length: 2 } })
  })

  it('logprobs come in pairs, the drawn token first', async () => {
    const [{ sequences: one }] = await sample({ sampling_params: { logprobs: 1 } })
    const [{ tokens, logprobs }] = one
    expect(logprobs).toHaveLength(tokens.length)
    expect(logprobs.map(([[id]]: Json) => id)).toEqual(tokens)
    expect(logprobs.every((pairs: Json) => pairs.length === 1)).toBe(true)
    const [{ sequences: three }] = await sample({ sampling_params: { logprobs: 3 } })
    for (const [i, pairs] of three[0].logprobs.entries()) {
      expect(pairs).toHaveLength(3)
      expect(new Set(pairs.map(([id]: Json) => id)).size).toBe(3)
      expect(pairs[0][0]).toBe(three[0].tokens[i])
      expect(pairs[1][1]).toBeGreaterThanOrEqual(pairs[2][1])
    }
  })

  it('max_tokens 0 scores the prompt and draws nothing', async () => {
    const [answer] = await sample({ inputs: [IDS], sampling_params: { max_tokens: 0 } })
    expect(answer.prompt_logprobs).toEqual([null, expect.any(Number), expect.any(Number)])
    expect(answer.sequences).toEqual([
      { stop_reason: 'length', tokens: [], logprobs: null, decoded: '', new_input_feature: IDS },
    ])
    const [scored] = await sample({ inputs: [IDS], sampling_params: { prompt_logprobs: 2 } })
    expect(scored.topk_prompt_logprobs.map((pairs: Json) => pairs?.length ?? null)).toEqual([null, 2, 2])
  })

  it.each<[object, number, string]>([
    [{ repetition_penalty: 1.1 }, 400, 'UNSERVED_SAMPLING_VALUE'],
    [{ min_p: 0.1 }, 400, 'UNKNOWN_SAMPLING_FIELD'],
    [{ num_samples: 2000 }, 400, 'INVALID_SAMPLING'],
    [{ stop: [''] }, 400, 'INVALID_SAMPLING'],
    [{ temperature: -1 }, 422, 'INVALID_ARGUMENTS'],
    [{ top_p: 0 }, 422, 'INVALID_ARGUMENTS'],
  ])('%j is refused', async (sampling_params, status, code) => {
    expect((await sample({ sampling_params }, status)).code).toBe(code)
  })

  it('the same seed gives the same tokens as by every other protocol', async () => {
    scripted.sayOn('')
    const sampling_params = { seed: 42, max_tokens: 6 }
    const [{ sequences }] = await sample({ inputs: [IDS], sampling_params })
    const prompt = { chunks: [{ tokens: IDS.input_ids }] }
    const tinker = await server.result('asample', {
      body: { base_model: 'org/tiny', prompt, sampling_params, num_samples: 1 },
    })
    expect(sequences[0].tokens).toEqual(tinker.sequences[0].tokens)
  })
})

describe('saved weights', () => {
  let run: string
  let other: string
  beforeAll(async () => {
    run = await server.newModel(await server.newSession())
    other = await server.newModel(await server.newSession({}, 'tml-bert'), {}, 'tml-bert')
    await server.save(run, 'a')
    await server.saveForSampler(run, 'b')
  })

  it.each(['twinkle', 'tinker'])('are drawn from by a path of %s, of either kind', async (scheme) => {
    for (const place of ['weights/a', 'sampler_weights/b']) {
      await sample({ adapter_uri: `${scheme}://${run}/${place}` })
      expect(drawn().snapshot).not.toBeNull()
    }
    await sample({ adapter_uri: null })
    expect(drawn().snapshot).toBeNull()
  })

  it('that are not there, or another tenant’s, are not told apart', async () => {
    const codes = [`twinkle://${run}/weights/none`, `twinkle://${other}/weights/a`].map(async (adapter_uri) => {
      const { code } = await sample({ adapter_uri }, 404)
      return code
    })
    expect(await Promise.all(codes)).toEqual(['CHECKPOINT_NOT_FOUND', 'CHECKPOINT_NOT_FOUND'])
    expect((await sample({ adapter_uri: '/tmp/weights' }, 400)).code).toBe('INVALID_TINKER_PATH')
    expect((await sample({ adapter_uri: 'ms://org/adapter' }, 400)).code).toBe('INVALID_TINKER_PATH')
  })

  it('of an adapter are found by its name; one that is only added is the base model', async () => {
    expect((await sample({ adapter_name: 'default' }, 404)).code).toBe('UNKNOWN_ADAPTER')
    await server.call('modelAddAdapter', asked({ adapter_name: 'default' }))
    expect((await sample({ adapter_name: 'default' }, 400)).code).toBe('NOT_SAVED')
    const added = await server.call('samplerAddAdapter', asked({ adapter_name: 'default', config: { r: 8 } }))
    expect(added).toEqual({ status: 'ok', adapter_name: `${session}-default` })
    await sample({ adapter_name: 'default' })
    expect(drawn().snapshot).toBeNull()
    await server.call('modelSave', asked({ adapter_name: 'default', name: 'one' }))
    await sample({ adapter_name: 'default' })
    expect(drawn().snapshot).not.toBeNull()
  })
})

it('of several inputs fails as a whole, and leaves the server as it was, when the files of the weights are gone', async () => {
  const run = await server.newModel(await server.newSession())
  await server.save(run, 'lost')
  const db = await openDatabase(server.place)
  const { folder } = await db
    .selectFrom('checkpoints')
    .select('folder')
    .where('run', '=', run)
    .executeTakeFirstOrThrow()
  await db.destroy()
  rmSync(join(server.stateDir, folder), { recursive: true })
  const inputs = Array(30).fill(IDS)
  const answer = await sample({ inputs, adapter_uri: `twinkle://${run}/weights/lost` }, 500)
  expect(answer.code).toBe('CHECKPOINT_UNREADABLE')
  expect(await sample({ inputs })).toHaveLength(30)
})

describe('the template', () => {
  it('is the owner’s own, and outlives a restart', async () => {
    const set = { template_cls: 'Template', adapter_name: '', model_id: 'ms://org/tiny', default_system: 'Be brief.' }
    expect(await server.call('samplerSetTemplate', asked(set))).toEqual({ status: 'ok' })
    await server.restart()
    await sample({})
    expect(scripted.lastPrompt).toMatch(/^<\|im_start\|>system\nBe brief\.<\|im_end\|>/)
    await server.call('samplerSample', { params, body: { inputs: [CHAT] } })
    expect(scripted.lastPrompt).not.toContain('Be brief.')
  })

  it.each<[object, string]>([
    [{ template_cls: 'MyTemplate' }, 'UNKNOWN_NAME'],
    [{ template_cls: 'Qwen3_5Template' }, 'UNSUPPORTED_NAME'],
    [{ template_cls: 'Template', trust: true }, 'UNKNOWN_ARGUMENT'],
    [{ template_cls: 'Template', model_id: 'ms://org/other' }, 'OTHER_TEMPLATE_MODEL'],
  ])('%j is refused', async (body, code) => {
    expect((await server.call('samplerSetTemplate', asked(body), 400)).code).toBe(code)
  })
})

describe('a stream', () => {
  const stream = async (body: object): Promise<Json[]> => {
    const answer = await server.send('samplerSampleStream', asked({ inputs: [CHAT], ...body }))
    expect([answer.status, answer.headers.get('content-type')]).toEqual([200, 'application/x-ndjson'])
    return (await answer.text())
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line))
  }

  it('has a line for each piece of text, and says how it ended', async () => {
    scripted.say('Hello there, ✓ friend.')
    const lines = await stream({})
    expect(lines.length).toBeGreaterThan(2)
    expect(lines.map(({ delta }) => delta).join('')).toBe('Hello there, ✓ friend.')
    expect(lines.map(({ finish_reason }) => finish_reason).filter(Boolean)).toEqual(['stop'])
    expect(lines.at(-1)?.finish_reason).toBe('stop')
  })

  it('is of one input and one sequence', async () => {
    for (const body of [{ inputs: [CHAT, CHAT] }, { inputs: CHAT, num_samples: 2 }]) {
      expect((await server.call('samplerSampleStream', asked(body), 400)).code).toBe('ONE_INPUT')
    }
  })
})

describe('the rest', () => {
  it('is answered as clients expect it', async () => {
    expect(await server.call('samplerCreate', asked({ dtype: 'auto' }))).toEqual({ status: 'ok' })
    expect(await server.call('samplerHeartbeat', asked({ adapter_name: 'default' }))).toEqual({ status: 'ok' })
    expect((await server.call('samplerApplyPatch', asked({ patch_cls: 'P', adapter_name: '' }), 400)).code).toBe(
      'UNKNOWN_PATCH',
    )
    await server.call('samplerCreate', { params: { base: 'org/none' }, body: {} }, 400)
  })

  it('of the first generation gets one flat sample', async () => {
    const answer = await fetch(`${server.url}/samplers/org/tiny/sample`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'twinkle-authorization': 'Bearer tml-anna' },
      body: JSON.stringify({ inputs: [CHAT, CHAT], sampling_params: { num_samples: 2 } }),
    })
    const { sequences, ...rest } = (await answer.json()) as Json
    expect(sequences).toHaveLength(4)
    expect(rest).toEqual({ prompt_logprobs: null, topk_prompt_logprobs: null })
  })

  it('is counted in the ledger', async () => {
    await sample({ inputs: [IDS] })
    const usage = await server.call('getBillingUsageEvents', {
      query: { starting_on: '2020-01-01T00:00:00Z', ending_before: '2100-01-01T00:00:00Z' },
    })
    expect(JSON.stringify(usage)).toContain('sampl')
  })
})
