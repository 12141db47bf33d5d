import { describe, expect, it } from 'vitest'
import { ToolReader } from './tool-calls.ts'

/** Content and calls of a text that comes in pieces of `size` characters. */
function read(text: string, size = 1) {
  const reader = new ToolReader()
  const said = []
  for (let i = 0; i < text.length; i += size) said.push(reader.push(text.slice(i, i + size)))
  said.push(reader.end())
  const calls = said.flatMap((one) => one.calls)
  return {
    content: said.map((one) => one.content).join(''),
    calls: calls.map((call) => [call.function.name, call.function.arguments]),
    ids: calls.map(({ id }) => id),
  }
}

const CALL = '<tool_call>\n{"name": "add", "arguments": {"a": 1, "b": 2}}\n</tool_call>'

describe.each([1, 3, 7, 1000])('a text in pieces of %i characters', (size) => {
  it('without calls is content as it is', () => {
    for (const text of ['hello', ' a\n\nb ', 'x < y <tool', '<tool_call', ''])
      expect(read(text, size)).toMatchObject({ content: text, calls: [] })
  })

  it('with a call gives it, and what was said before', () => {
    const { content, calls, ids } = read(`Let me see.\n\n${CALL}`, size)
    expect([content, calls]).toEqual(['Let me see.', [['add', '{"a": 1, "b": 2}']]])
    expect(ids[0]).toMatch(/^call_[0-9a-f]{24}$/)
  })

  it('with several calls gives each, with an id of its own', () => {
    const { content, calls, ids } = read(`${CALL}\n${CALL}\n`, size)
    expect([content, calls.length, new Set(ids).size]).toEqual(['', 2, 2])
  })

  it('with a call that lacks its end gives it where it is whole', () => {
    expect(read(CALL.replace('</tool_call>', ''), size).calls).toHaveLength(1)
    const cut = CALL.slice(0, 30)
    expect(read(cut, size)).toMatchObject({ content: cut, calls: [] })
  })

  it.each([
    ['no JSON', '<tool_call>add(1, 2)</tool_call>'],
    ['no object', '<tool_call>[1]</tool_call>'],
    ['null', '<tool_call>null</tool_call>'],
    ['no name', '<tool_call>{"arguments": {}}</tool_call>'],
    ['arguments that are no object', '<tool_call>{"name": "add", "arguments": [1]}</tool_call>'],
  ])('in whose tags stands %s keeps it as content', (_, text) => {
    expect(read(text, size)).toMatchObject({ content: text, calls: [] })
  })
})

it('arguments are in the model’s own digits, also beyond what a number can hold', () => {
  const big = '{"id": 12345678901234567890, "x": 1.10}'
  expect(read(`<tool_call>{"name": "f", "arguments": ${big}}</tool_call>`).calls).toEqual([['f', big]])
  const turned = `<tool_call>{"arguments": {"a": {}}, "name": "f"}</tool_call>`
  expect(read(turned).calls).toEqual([['f', '{"a":{}}']])
  expect(read('<tool_call>{"name": "f"}</tool_call>').calls).toEqual([['f', '{}']])
})

it('content is told as soon as it is certain', () => {
  const reader = new ToolReader()
  expect(reader.push('Hello <b').content).toBe('Hello <b')
  expect(reader.push('> <tool').content).toBe('>')
  expect(reader.push('box>').content).toBe(' <toolbox>')
})
