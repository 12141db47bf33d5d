// Calls as Cline writes them: the tool's name is a tag of its own, its parameters are tags inside. There is no list of tools:
// a tag is a call when it holds a parameter and is none of the tags that texts have anyway.

import { type ToolCallParser, toolCall } from './tool-call-parser.ts'

/** Tags of prompts, of other ways to call tools, and of HTML. */
const NO_TOOLS: ReadonlySet<string> = new Set(
  `think answer tool_call tool_response function parameter parameters tools tool system user assistant message messages
  content response output role reasoning_content p a b i em strong div span pre code br hr ul ol li h1 h2 h3 h4 h5 h6
  table tr td th tbody thead img video audio`.split(/\s+/),
)
const TAG = /<([a-z][a-z0-9_]*)>/g

interface Block {
  readonly tag: string
  readonly body: string
  readonly from: number
  readonly to: number
}

export const ClineParser: ToolCallParser = {
  name: 'ClineParser',
  detect: (text) => callsIn(text).length > 0,
  parse: (text) =>
    callsIn(text).map(({ tag, body }) =>
      toolCall(tag, Object.fromEntries(blocksIn(body).map((block) => [block.tag, block.body.trim()]))),
    ),
  clean(text) {
    let kept = ''
    let end = 0
    for (const { from, to } of callsIn(text)) {
      kept += text.slice(end, from)
      end = to
    }
    return (kept + text.slice(end)).trimEnd()
  },
}

function callsIn(text: string): Block[] {
  return blocksIn(text).filter(({ tag, body }) => !NO_TOOLS.has(tag) && blocksIn(body).length > 0)
}

/** Tags with their ends, those inside others left out. Each kind of end that is missing is looked for once. */
function blocksIn(text: string): Block[] {
  const blocks: Block[] = []
  const unclosed = new Set<string>()
  let end = 0
  for (const match of text.matchAll(TAG)) {
    const [opening, tag = ''] = match
    if (match.index < end || unclosed.has(tag)) continue
    const start = match.index + opening.length
    const close = text.indexOf(`</${tag}>`, start)
    if (close < 0) {
      unclosed.add(tag)
      continue
    }
    end = close + tag.length + 3
    blocks.push({ tag, body: text.slice(start, close), from: match.index, to: end })
  }
  return blocks
}
