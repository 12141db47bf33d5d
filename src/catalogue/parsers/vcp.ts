// Calls as VCP writes them: between <<<[TOOL_REQUEST]>>> and <<<[END_TOOL_REQUEST]>>>, each parameter as `key:「始」value「末」`,
// the tool's name under the key tool_name. Values that hold such brackets themselves use 「始ESCAPE」 and 「末ESCAPE」.

import { type ToolCall, type ToolCallParser, toolCall } from './tool-call-parser.ts'

const OPENING = '<<<[TOOL_REQUEST]>>>'
const BLOCK = /<<<\[TOOL_REQUEST\]>>>([\s\S]*?)<<<\[END_TOOL_REQUEST\]>>>/g
const PARAMETER = /([A-Za-z_]\w*)\s*:\s*(?:「始ESCAPE」([\s\S]*?)「末ESCAPE」|「始」([\s\S]*?)「末」)/g

export const VCPParser: ToolCallParser = {
  name: 'VCPParser',
  detect: (text) => text.includes(OPENING),
  parse: (text) => [...text.matchAll(BLOCK)].flatMap(([, block = '']) => callOf(block)),
  clean: (text) => text.replace(BLOCK, '').trimEnd(),
}

function callOf(block: string): ToolCall[] {
  const values = [...block.matchAll(PARAMETER)].map(([, key = '', escaped, plain]) => [key, escaped ?? plain] as const)
  const { tool_name: name = '', ...args } = Object.fromEntries(values)
  return name.trim() === '' ? [] : [toolCall(name.trim(), args)]
}
