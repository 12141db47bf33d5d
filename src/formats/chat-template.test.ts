import { describe, expect, it } from 'vitest'
import { ChatTemplate, ChatTemplateError, loadChatTemplate } from './chat-template.ts'

const HELLO = [{ role: 'user', content: 'hello' }]

function load(config: unknown, extra: Record<string, string> = {}) {
  const files = { 'tokenizer_config.json': JSON.stringify(config), ...extra }
  const bytes = Object.entries(files).map(([name, text]) => [name, Buffer.from(text)] as const)
  return loadChatTemplate(Object.fromEntries(bytes), 'model')
}

describe('where a template may be', () => {
  it('in tokenizer_config.json, alone or by name', () => {
    expect(load({ chat_template: 'A' })?.render(HELLO)).toBe('A')
    const named = [
      { name: 'tool_use', template: 'T' },
      { name: 'default', template: 'D' },
    ]
    expect(load({ chat_template: named })?.render(HELLO)).toBe('D')
  })

  it('in a file of its own, which wins', () => {
    expect(load({ chat_template: 'A' }, { 'chat_template.jinja': 'J' })?.render(HELLO)).toBe('J')
    expect(load({ chat_template: 'A' }, { 'chat_template.json': '{"chat_template":"S"}' })?.render(HELLO)).toBe('S')
  })

  it('nowhere', () => expect(load({})).toBeUndefined())

  it('in a form nobody knows', () => {
    expect(() => load({ chat_template: 7 })).toThrow(/model: its chat_template is neither/)
    expect(() => load({ chat_template: '{% for %}' })).toThrow(/model: its chat template is not valid Jinja/)
  })
})

describe('rendering', () => {
  it('gives special tokens, tools and further variables to the template', () => {
    const source =
      '{{ bos_token }}{{ eos_token }}{% if thinking %}think {% endif %}{{ tools | length }}{{ messages[0].content }}'
    const template = load({ chat_template: source, bos_token: '<s>', eos_token: { content: '</s>' } })
    expect(template?.render(HELLO, { tools: [{}, {}], variables: { thinking: true } })).toBe('<s></s>think 2hello')
  })

  it('knows which words the template has', () => {
    const template = new ChatTemplate('{% if enable_thinking %}{% endif %}')
    expect([template.mentions('enable_thinking'), template.mentions('tools')]).toEqual([true, false])
  })

  it("passes the template's own refusal on", () => {
    const template = new ChatTemplate("{{ raise_exception('roles must alternate') }}")
    expect(() => template.render(HELLO)).toThrow(ChatTemplateError)
    expect(() => template.render(HELLO)).toThrow(/refuses these messages: roles must alternate/)
  })
})
