// The tool-call parsers by name, in the order in which they are tried: those with the plainest marks first.

import { unknownName } from '../catalogue-error.ts'
import { ClineParser } from './cline.ts'
import { HermesQwenParser } from './hermes-qwen.ts'
import { ReActParser } from './react.ts'
import type { ToolCallParser } from './tool-call-parser.ts'
import { VCPParser } from './vcp.ts'

export type { ToolCallParser } from './tool-call-parser.ts'

export const TOOL_CALL_PARSERS: readonly ToolCallParser[] = [HermesQwenParser, ClineParser, VCPParser, ReActParser]

/** Throws UNKNOWN_NAME. */
export function toolCallParser(name: string): ToolCallParser {
  const found = TOOL_CALL_PARSERS.find((parser) => parser.name === name)
  if (!found) throw unknownName('tool-call parser', name, TOOL_CALL_PARSERS.map((parser) => parser.name).sort())
  return found
}

/** The first whose way of writing the text looks like; undefined for plain text. */
export function parserFor(text: string): ToolCallParser | undefined {
  return TOOL_CALL_PARSERS.find((parser) => parser.detect(text))
}
