import { describe, expect, it } from 'vitest'
import { CatalogueError } from '../catalogue-error.ts'
import { IGNORED, type InputFeature, type Row } from '../rows.ts'
import { THINKING, TINY } from '../testing/tiny.ts'
import { createTemplate, defaultTemplate, type TemplateModel } from './index.ts'
import { standardMessages } from './standard-messages.ts'

const turn = (role: string, content: unknown, more: object = {}) => ({ role, content, ...more })
const ASKED = [turn('user', 'What is 7 + 5?')]
const CHAT = [...ASKED, turn('assistant', '12'), turn('user', 'Sure?'), turn('assistant', 'Yes.')]

const encode = async (row: Row, kwargs = {}, model: TemplateModel = TINY) =>
  (await createTemplate('Template', kwargs, model).encode(row)) as unknown as InputFeature[]
const one = async (row: Row, kwargs = {}, model?: TemplateModel) =>
  (await encode(row, kwargs, model))[0] as InputFeature

/** The text that is learned, one entry for each stretch of labels. */
function learned({ input_ids: ids, labels }: InputFeature): string[] {
  const stretches: number[][] = [[]]
  labels.forEach((label, t) => {
    if (label === IGNORED) stretches.push([])
    else {
      expect(label).toBe(ids[t + 1])
      stretches.at(-1)?.push(label)
    }
  })
  return stretches.filter((ids) => ids.length).map((ids) => TINY.tokenizer.decode(ids))
}

describe('a conversation', () => {
  it('becomes the text of its chat template, and what the assistant says is learned, shifted by one', async () => {
    const feature = await one({ messages: CHAT, id: 7 })
    expect(TINY.tokenizer.decode(feature.input_ids)).toBe(
      '<|im_start|>user\nWhat is 7 + 5?<|im_end|>\n<|im_start|>assistant\n12<|im_end|>\n<|im_start|>user\nSure?<|im_end|>\n<|im_start|>assistant\nYes.<|im_end|>\n',
    )
    expect(learned(feature)).toEqual(['12<|im_end|>\n', 'Yes.<|im_end|>\n'])
    expect(feature.labels.at(-1)).toBe(IGNORED)
    expect(feature).toMatchObject({ id: 7, length: feature.input_ids.length })
    expect(feature.position_ids).toEqual([...feature.input_ids.keys()])
    expect(new Set(feature.attention_mask)).toEqual(new Set([1]))
  })

  it('learns of the turns that key_rounds names only', async () => {
    expect(learned(await one({ messages: CHAT, user_data: [['key_rounds', '[3]']] }))).toEqual(['Yes.<|im_end|>\n'])
  })

  it('as a prompt ends with the opening of the answer, and nothing is learned', async () => {
    const [feature] = await createTemplate('Template', {}, TINY).encode({ messages: ASKED }, true)
    expect(TINY.tokenizer.decode(feature?.input_ids as number[])).toMatch(/<\|im_start\|>assistant\n$/)
    expect(new Set(feature?.labels as number[])).toEqual(new Set([IGNORED]))
  })

  it('gets a system turn in front, where there is none', async () => {
    const withSystem = [turn('system', 'Be brief.'), ...CHAT]
    expect((await one({ messages: CHAT }, { default_system: 'Be brief.' })).input_ids).toEqual(
      (await one({ messages: withSystem })).input_ids,
    )
    expect((await one({ messages: withSystem }, { default_system: 'Be long.' })).input_ids).toEqual(
      (await one({ messages: withSystem })).input_ids,
    )
  })

  it('may have its texts in parts', async () => {
    const parts = [
      turn('user', [
        { type: 'text', text: 'What is ' },
        { type: 'text', text: '7 + 5?' },
      ]),
      CHAT[1],
    ]
    expect((await one({ messages: parts })).input_ids).toEqual((await one({ messages: CHAT.slice(0, 2) })).input_ids)
  })

  it('of preferences is encoded in each of its columns', async () => {
    const [row = {}] = (await encode({
      positive: { messages: CHAT },
      negative: { messages: CHAT.slice(0, 2) },
      source: 'x',
    })) as Row[]
    expect(row.source).toBe('x')
    expect((row.positive as InputFeature).input_ids).toEqual((await one({ messages: CHAT })).input_ids)
    expect(learned(row.negative as InputFeature)).toEqual(['12<|im_end|>\n'])
  })

  it('is plain text where no chat template is to be used; all but its first token is learned', async () => {
    const feature = await one({ messages: [turn('user', '12+13=25')] }, { use_chat_template: false })
    expect(TINY.tokenizer.decode(feature.input_ids)).toBe('12+13=25')
    expect(feature.labels).toEqual([...feature.input_ids.slice(1), IGNORED])
  })
})

describe('a row that is too long', async () => {
  const row = { messages: CHAT }
  const whole = await one(row)
  const most = whole.length - 5

  it('is refused', async () => {
    await expect(encode(row, { max_length: most })).rejects.toThrow(
      `A row has ${whole.length} tokens, which is more than max_length = ${most}.`,
    )
    expect(await encode(row, { max_length: whole.length })).toHaveLength(1)
  })

  it.each([
    ['left', [whole.input_ids.slice(5)]],
    ['right', [whole.input_ids.slice(0, most)]],
    ['split', [whole.input_ids.slice(0, most), whole.input_ids.slice(most)]],
    ['delete', []],
  ])('%s', async (truncation_strategy, expected) => {
    const features = await encode(row, { max_length: most, truncation_strategy })
    expect(features.map(({ input_ids }) => input_ids)).toEqual(expected)
    // Nothing is learned across a cut.
    for (const { labels, length } of features) {
      expect(labels).toHaveLength(length)
      expect(labels.at(-1)).toBe(IGNORED)
    }
  })
})

describe('thoughts', () => {
  it('lose the newlines around them, however many they have inside', async () => {
    const inside = `a${'\n'.repeat(100_000)}b`
    const messages = [...CHAT.slice(0, 1), turn('assistant', `<think>\n\n${inside}\n</think>\nYes.`)]
    const [, answer] = standardMessages({ messages }, true)
    expect(answer).toMatchObject({ reasoning_content: inside, content: 'Yes.' })
  })

  const thoughtful = [...CHAT.slice(0, 3), turn('assistant', '<think>\nhm\n</think>\n\nYes.')]

  it('are told apart where the chat template knows them, and stay in the text where it does not', async () => {
    expect(learned(await one({ messages: thoughtful }, {}, THINKING))).toEqual([
      '12<|im_end|>\n',
      '<think>\nhm\n</think>\n\nYes.<|im_end|>\n',
    ])
    expect(learned(await one({ messages: thoughtful }))).toEqual([
      '12<|im_end|>\n',
      '<think>\nhm\n</think>\n\nYes.<|im_end|>\n',
    ])
  })

  it('are no label where the prompt has an empty one already', async () => {
    const feature = await one({ messages: CHAT }, { enable_thinking: false }, THINKING)
    expect(learned(feature)[0]).toBe('12<|im_end|>\n')
  })
})

describe('tools', () => {
  const calls = [{ type: 'function', function: { name: 'add', arguments: '{"a": 7}' } }]

  it('are given to the chat template, with arguments as objects', async () => {
    const messages = [...ASKED, turn('assistant', 'I add.', { tool_calls: JSON.stringify(calls) })]
    const [row] = await encode({ messages, tools: [{}, {}] }, {}, THINKING)
    const text = TINY.tokenizer.decode(row?.input_ids as number[])
    expect(text).toContain('2 tools<|im_end|>')
    expect(text).toContain('"arguments": {"a": 7}')
  })

  it('called in a sampled answer are found', async () => {
    const template = createTemplate('Template', {}, TINY)
    const tokens = TINY.tokenizer.encode('I add.<tool_call>{"name":"add","arguments":{"a":7}}</tool_call><|im_end|>')
    const { messages } = template.extend(await template.encodePrompt({ messages: ASKED }), tokens) as unknown as {
      messages: unknown[]
    }
    expect(messages.at(-1)).toEqual({
      role: 'assistant',
      content: 'I add.',
      tool_calls: [{ type: 'function', function: { name: 'add', arguments: { a: 7 } } }],
    })
  })
})

describe('what was sampled', () => {
  const template = createTemplate('Template', {}, TINY)
  const tokens = TINY.tokenizer.encode('12<|im_end|>')

  it('is learned, and nothing of the prompt is', async () => {
    const feature = template.extend(await template.encodePrompt({ messages: ASKED, id: 3 }), tokens)
    expect(learned(feature)).toEqual(['12<|im_end|>'])
    expect(feature).toMatchObject({
      id: 3,
      length: feature.input_ids.length,
      messages: [...ASKED, turn('assistant', '12')],
    })
  })

  it('goes on from what was learned before: a second answer leaves the first', async () => {
    const first = template.extend(await template.encodePrompt({ messages: ASKED }), tokens)
    const bridge = TINY.tokenizer.encode('\n<|im_start|>user\nSure?<|im_end|>\n<|im_start|>assistant\n')
    const ids = [...first.input_ids, ...bridge]
    const labels = [...first.labels, ...bridge.map(() => IGNORED)]
    expect(learned(template.extend({ ...first, input_ids: ids, labels }, tokens))).toEqual([
      '12<|im_end|>',
      '12<|im_end|>',
    ])
  })

  it('follows bare ids too, which have no labels', async () => {
    expect(template.extend({ input_ids: [5, 6] }, [7, 8])).toMatchObject({
      input_ids: [5, 6, 7, 8],
      labels: [IGNORED, 7, 8, IGNORED],
    })
  })
})

describe('refused by name:', () => {
  it.each<[string, () => unknown, string]>([
    ['an unknown template', () => createTemplate('Llama4Template', {}, TINY), 'There is no template "Llama4Template".'],
    [
      'a template of other models',
      () => createTemplate('Qwen3_5Template', {}, TINY),
      'The template Qwen3_5Template does not fit twinkle/tiny',
    ],
    [
      'DeepSeek-V4',
      () => createTemplate('DeepseekV4Template', {}, TINY),
      'The template DeepseekV4Template does not fit',
    ],
    ['an unknown argument', () => encode({ messages: CHAT }, { max_len: 5 }), 'has no argument "max_len"'],
    [
      'an unknown strategy',
      () => encode({ messages: CHAT }, { truncation_strategy: 'middle' }),
      'cannot take truncation_strategy = "middle"',
    ],
    [
      'an image',
      () => encode({ messages: [turn('user', [{ type: 'image', url: 'x' }])] }),
      'content of the kind image',
    ],
    ['images beside the messages', () => encode({ messages: CHAT, images: ['x'] }), 'content of the kind images'],
    ['a row without messages', () => encode({ query: 'x' }), 'A row has no messages.'],
    [
      'a model without a chat template',
      () => one({ messages: CHAT }, {}, { ...TINY, chat: undefined }),
      'The model twinkle/tiny has no chat template.',
    ],
    [
      'turns without a chat template',
      () => one({ messages: CHAT }, { use_chat_template: false }),
      'A row has turns, but use_chat_template is false.',
    ],
    [
      'a row that would hold everybody up',
      () => one({ messages: [turn('user', 'a'.repeat(200_000))] }),
      'characters; those with more than 131072',
    ],
  ])('%s', async (_, act, message) => {
    const acting = (async () => act())()
    await expect(acting).rejects.toThrow(CatalogueError)
    await expect(acting).rejects.toThrow(message)
  })
})

it('a model gets the template that its name and its file call for', async () => {
  expect(defaultTemplate(TINY).options.maxLength).toBe(8192)
  expect(() => defaultTemplate(THINKING)).not.toThrow()
})
