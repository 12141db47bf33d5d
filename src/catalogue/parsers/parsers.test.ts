import { describe, expect, it } from 'vitest'
import { parserFor, toolCallParser } from './index.ts'

const call = (name: string, args: object) => ({ type: 'function', function: { name, arguments: args } })

const CLINE = `I look.
<read_file><path> src/a.ts </path></read_file>
<execute_command>
  <command>ls -la</command>
  <requires_approval>false</requires_approval>
</execute_command>`
const VCP = `Now.<<<[TOOL_REQUEST]>>>
tool_name:「始」 search 「末」,
query:「始」stars「末」,
raw:「始ESCAPE」a「始」b「末」c「末ESCAPE」
<<<[END_TOOL_REQUEST]>>>`

describe.each<[string, string, string, object[], string]>([
  [
    'HermesQwenParser',
    'JSON between tags, also where the model stopped in the middle',
    'Sure.\n<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call>\n<tool_call>{"name":"sub","arguments":"{\\"b\\":2}"}',
    [call('add', { a: 1 }), call('sub', { b: 2 })],
    'Sure.',
  ],
  [
    'HermesQwenParser',
    'functions and parameters as tags',
    '<tool_call>\n<function=find>\n<parameter=city>\nParis\n</parameter>\n<parameter=days>\n3\n</parameter>\n</function>\n</tool_call>',
    [call('find', { city: 'Paris', days: 3 })],
    '',
  ],
  ['HermesQwenParser', 'nothing where there is no JSON', 'x <tool_call>{"name": </tool_call>', [], 'x'],
  [
    'ReActParser',
    'lines of actions',
    'Thought: go\nAction: search[Ada Lovelace]\n',
    [call('search', { input: 'Ada Lovelace' })],
    'Thought: go',
  ],
  [
    'ClineParser',
    'tags of tools with tags of parameters',
    CLINE,
    [
      call('read_file', { path: 'src/a.ts' }),
      call('execute_command', { command: 'ls -la', requires_approval: 'false' }),
    ],
    'I look.',
  ],
  ['ClineParser', 'no call in HTML', '<div><p>hello</p></div>', [], '<div><p>hello</p></div>'],
  [
    'VCPParser',
    'brackets, and brackets within brackets',
    VCP,
    [call('search', { query: 'stars', raw: 'a「始」b「末」c' })],
    'Now.',
  ],
])('%s', (name, what, text, calls, rest) => {
  it(`finds ${what}`, () => {
    expect(toolCallParser(name).parse(text)).toEqual(calls)
    expect(toolCallParser(name).clean(text)).toBe(rest)
    expect(toolCallParser(name).parse('Just words.')).toEqual([])
  })
})

it('the parser of a text is the first that knows its marks', () => {
  expect(parserFor(CLINE)?.name).toBe('ClineParser')
  expect(parserFor(VCP)?.name).toBe('VCPParser')
  expect(parserFor('<tool_call>{}</tool_call>')?.name).toBe('HermesQwenParser')
  expect(parserFor('Action: look[here]')?.name).toBe('ReActParser')
  expect(parserFor('I act.')).toBeUndefined()
})

it('an unknown name is refused with ours', () => {
  expect(() => toolCallParser('XmlParser')).toThrow(
    expect.objectContaining({
      message: 'There is no tool-call parser "XmlParser".',
      next: 'There are: ClineParser, HermesQwenParser, ReActParser, VCPParser.',
    }),
  )
})

it('texts made to be slow are not', () => {
  for (const text of ['<a_b>'.repeat(50_000), `Action:${' '.repeat(100_000)}`, '<tool_call>'.repeat(50_000)]) {
    for (const name of ['ClineParser', 'ReActParser', 'HermesQwenParser', 'VCPParser']) {
      expect(toolCallParser(name).parse(text)).toEqual([])
    }
  }
  // One regular expression that backtracks would take minutes here: the test would not end.
})
