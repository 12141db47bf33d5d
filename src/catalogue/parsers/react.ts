// Calls as ReAct prompts ask for them: a line `Action: NAME[INPUT]`.

import { type ToolCallParser, toolCall } from './tool-call-parser.ts'

/** Only blanks of the same line around it, so that lines are matched in linear time. */
const ACTION = /^[ \t]*Action[ \t]*:[ \t]*([\w\-./]+)[ \t]*\[([^\n]*)\][ \t]*$/gm

export const ReActParser: ToolCallParser = {
  name: 'ReActParser',
  detect: (text) => text.search(ACTION) >= 0,
  parse: (text) => [...text.matchAll(ACTION)].map(([, name = '', input = '']) => toolCall(name, { input })),
  clean: (text) => text.replace(ACTION, '').trimEnd(),
}
