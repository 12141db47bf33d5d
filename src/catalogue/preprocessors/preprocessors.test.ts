// The columns that Twinkle documents for each data set, and what its preprocessors make of them.

import { describe, expect, it } from 'vitest'
import type { Trajectory } from '../rows.ts'
import { createFilter, createPreprocessor } from './index.ts'

const turns = ({ messages }: Partial<Trajectory>) => messages?.map(({ role, content }) => [role, content])
const made = (name: string, row: object, args = {}) => createPreprocessor(name, args)({ ...row }) as Partial<Trajectory>

describe('rows to learn from', () => {
  it('SelfCognitionProcessor puts names in, whatever signs they have', () => {
    const row = { query: 'Who made {{NAME}}?', response: '{{AUTHOR}} made {{NAME}}, {{NAME}}.' }
    expect(turns(made('SelfCognitionProcessor', row, { model_name: 'Ada $& 1', model_author: 'Lab' }))).toEqual([
      ['system', 'You are a helpful assistant.'],
      ['user', 'Who made Ada $& 1?'],
      ['assistant', 'Lab made Ada $& 1, Ada $& 1.'],
    ])
    expect(turns(made('SelfCognitionProcessor', row))?.[2]).toEqual([
      'assistant',
      'twinkle lab made twinkle robot, twinkle robot.',
    ])
  })

  it('AlpacaProcessor joins instruction and input', () => {
    const row = { instruction: 'Add.', input: '1, 2', output: '3' }
    expect(turns(made('AlpacaProcessor', row))).toEqual([
      ['user', 'Add.\n1, 2'],
      ['assistant', '3'],
    ])
    expect(turns(made('AlpacaProcessor', { ...row, input: null }))?.[0]).toEqual(['user', 'Add.'])
  })

  it('CompetitionMathProcessor takes problem and solution', () => {
    expect(turns(made('CompetitionMathProcessor', { problem: 'P', solution: 'S' }))).toEqual([
      ['user', 'P'],
      ['assistant', 'S'],
    ])
  })

  it('EmojiDPOProcessor makes a conversation of each answer', () => {
    const row = { prompt: 'Hi', answer_zh: 'A', answer_en: 'B' }
    const pair = createPreprocessor('EmojiDPOProcessor', { system: 'S' })(row) as Record<string, Trajectory>
    expect(turns(pair.positive as Trajectory)).toEqual([
      ['system', 'S'],
      ['user', 'Hi'],
      ['assistant', 'A'],
    ])
    expect(turns(pair.negative as Trajectory)).toEqual([
      ['system', 'S'],
      ['user', 'Hi'],
      ['assistant', 'B'],
    ])
    const named = createPreprocessor('EmojiDPOProcessor', { chosen_key: 'yes', rejected_key: 'no', prompt_key: 'q' })
    const { positive } = named({ q: 'Q', yes: 'Y', no: 'N' }) as Record<string, Trajectory>
    expect(turns(positive as Trajectory)).toEqual([
      ['user', 'Q'],
      ['assistant', 'Y'],
    ])
  })
})

describe('rows to draw answers to', () => {
  it('GSM8KProcessor notes the number behind ####', () => {
    const row = { question: 'How many?', answer: 'Some steps\n#### 1,234' }
    const { user_data, ...prompt } = made('GSM8KProcessor', row)
    expect(user_data).toEqual([['ground_truth', '1234']])
    expect(turns(prompt)?.map(([role]) => role)).toEqual(['system', 'user'])
    expect(turns(made('GSM8KProcessor', row, { system: 'S', add_assistant: true }))).toEqual([
      ['system', 'S'],
      ['user', 'How many?'],
      ['assistant', 'Some steps\n#### 1,234'],
    ])
    expect(made('GSM8KProcessor', { question: 'Q' }).user_data).toEqual([['ground_truth', '']])
  })

  it('CompetitionMathGRPOProcessor notes the solution', () => {
    const row = made('CompetitionMathGRPOProcessor', { problem: 'P', solution: '\\boxed{4}' })
    expect(row.user_data).toEqual([['solution', '\\boxed{4}']])
    expect(turns(row)?.slice(1)).toEqual([
      ['user', 'P'],
      ['assistant', ''],
    ])
  })

  it('CountdownProcessor notes target and numbers, under either name', () => {
    expect(made('CountdownProcessor', { nums: [1, 2], target: 3 }).user_data).toEqual([{ target: 3, nums: [1, 2] }])
    const row = made('CountdownProcessor', { nums: [1, 2], response: 3 })
    expect(turns(row)?.[1]?.[1]).toContain('equals 3 from the numbers [1, 2]')
  })

  it('OlympiadBenchProcessor joins answers and puts the context first', () => {
    const row = { question: 'Q', context: 'C', final_answer: ['1 ', '2'], unit: 'm' }
    const made1 = made('OlympiadBenchProcessor', row, { language: 'en' })
    expect(made1.user_data).toEqual([['ground_truth', '1, 2']])
    expect(turns(made1)?.[1]).toEqual(['user', '背景信息：C\n\nQ'])
    expect(turns(made('OlympiadBenchProcessor', { question: 'Q' }, { system: '' }))).toEqual([['user', 'Q']])
  })
})

describe('refused by name:', () => {
  it.each<[string, () => unknown, string]>([
    ['an unknown preprocessor', () => createPreprocessor('Mine', {}), 'There is no preprocessor "Mine".'],
    ['what is on every object', () => createPreprocessor('toString', {}), 'There is no preprocessor "toString".'],
    [
      'images',
      () => createPreprocessor('CLEVRProcessor', {}),
      'The preprocessor CLEVRProcessor makes rows with images',
    ],
    ['images in a row', () => made('OlympiadBenchProcessor', { question: 'Q', image_2: {} }), 'makes rows with images'],
    ['an unknown argument', () => createPreprocessor('AlpacaProcessor', { system: 'x' }), 'has no argument "system"'],
    ['a missing column', () => made('CompetitionMathProcessor', { problem: 'P' }), 'A row has no column "solution".'],
    [
      'a column that is no text',
      () => made('GSM8KProcessor', { question: 7 }),
      'A row has no text in column "question".',
    ],
    ['an unknown filter', () => createFilter('F', {}), 'There is no filter "F".'],
    ['lengths before there are any', () => createFilter('LengthFilter', {})({}), 'A row has no length.'],
  ])('%s', (_, act, message) => expect(act).toThrow(message))
})

it('filters keep rows of a length, and rows with something in them', () => {
  const keep = createFilter('LengthFilter', { min_length: 2, max_length: 3 })
  expect([1, 2, 3, 4].filter((length) => keep({ length }))).toEqual([2, 3])
  const full = createFilter('NonEmptyFilter', { column: 'a' })
  expect([{ a: ' ' }, { a: 'x' }, { a: [] }, { a: [0] }, { a: 0 }, {}].map(full)).toEqual([
    false,
    true,
    false,
    true,
    true,
    false,
  ])
  expect(createFilter('NonEmptyFilter', {})({ messages: [{ role: 'user', content: '' }] })).toBe(false)
})
