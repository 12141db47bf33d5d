// Calls as Hermes and Qwen models write them: between <tool_call> tags, either one JSON object {"name", "arguments"} or the XML
// of Qwen 3.5, <function=NAME> with <parameter=KEY>VALUE</parameter> inside.

import { isRow } from '../rows.ts'
import { jsonOr, type ToolCall, type ToolCallParser, toolCall } from './tool-call-parser.ts'

/** A block that is not closed ends with the text: a model may stop in the middle. */
const BLOCK = /<tool_call>([\s\S]*?)(?:<\/tool_call>|$)/g
const FUNCTION = /<function=([^>]+)>([\s\S]*?)<\/function>/
const PARAMETER = /<parameter=([^>]+)>([\s\S]*?)<\/parameter>/g

export const HermesQwenParser: ToolCallParser = {
  name: 'HermesQwenParser',
  detect: (text) => text.includes('<tool_call>'),
  parse: (text) => [...text.matchAll(BLOCK)].flatMap(([, block = '']) => callOf(block.trim())),
  clean: (text) => text.replace(BLOCK, '').trimEnd(),
}

function callOf(block: string): ToolCall[] {
  const [, name, body] = FUNCTION.exec(block) ?? []
  if (name !== undefined) return [toolCall(name.trim(), parametersOf(body ?? ''))]
  const call = jsonOr(block, null)
  if (!isRow(call)) return []
  const called = call.name || call.tool_name
  return typeof called === 'string' && called !== '' ? [toolCall(called, argumentsOf(call.arguments))] : []
}

function parametersOf(body: string): Record<string, unknown> {
  const pairs = [...body.matchAll(PARAMETER)].map(([, key = '', value = '']) => [key.trim(), value.trim()] as const)
  return Object.fromEntries(pairs.map(([key, value]) => [key, jsonOr(value, value)]))
}

/** An object, or a text that holds one. */
function argumentsOf(given: unknown): Record<string, unknown> {
  const args = typeof given === 'string' ? jsonOr(given, {}) : given
  return isRow(args) ? args : {}
}
