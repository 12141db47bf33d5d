// Calls of tools in what a model writes: JSON between <tool_call> and </tool_call>, as the templates that take tools teach
// it. Text before and after a call is content; what may turn out to be a tag waits. What stands in tags and is no call is
// content as it was written: the model wrote it, and its reader should see it.

import { randomBytes } from 'node:crypto'

export interface ToolCall {
  readonly id: string
  readonly type: 'function'
  readonly function: { readonly name: string; readonly arguments: string }
}

export interface ToolText {
  readonly content: string
  readonly calls: readonly ToolCall[]
}

const OPEN = '<tool_call>'
const CLOSE = '</tool_call>'
/** Some vocabularies have them as special tokens. */
export const TOOL_TAGS: readonly string[] = [OPEN, CLOSE]

export class ToolReader {
  #waiting = ''
  #isInside = false
  #hasCalled = false

  /** Whether it has given a call. */
  get hasCalled(): boolean {
    return this.#hasCalled
  }

  push(text: string): ToolText {
    this.#waiting += text
    let content = ''
    const calls: ToolCall[] = []
    for (;;) {
      const at = this.#waiting.indexOf(this.#isInside ? CLOSE : OPEN)
      if (at < 0) break
      const before = this.#waiting.slice(0, at)
      if (this.#isInside) {
        const call = readCall(before)
        if (call) calls.push(call)
        else content += `${OPEN}${before}${CLOSE}`
        this.#hasCalled ||= call !== null
        this.#waiting = this.#waiting.slice(at + CLOSE.length)
      } else {
        // Lines between content and a call belong to neither.
        content += this.#hasCalled ? before.trim() : before.trimEnd()
        this.#waiting = this.#waiting.slice(at + OPEN.length)
      }
      this.#isInside = !this.#isInside
    }
    if (!this.#isInside) content += this.#shift()
    return { content, calls }
  }

  /** A call whose end was left out counts where it is whole. */
  end(): ToolText {
    const left = this.#waiting
    this.#waiting = ''
    if (!this.#isInside) return { content: this.#hasCalled ? left.trim() : left, calls: [] }
    const call = readCall(left)
    this.#hasCalled ||= call !== null
    return call ? { content: '', calls: [call] } : { content: `${OPEN}${left}`, calls: [] }
  }

  /** What is content for certain: neither the beginning of a tag, nor the space before one. */
  #shift(): string {
    if (this.#hasCalled) this.#waiting = this.#waiting.trimStart()
    let length = Math.min(OPEN.length - 1, this.#waiting.length)
    while (length > 0 && !this.#waiting.endsWith(OPEN.slice(0, length))) length--
    const sure = this.#waiting.slice(0, this.#waiting.length - length).trimEnd()
    this.#waiting = this.#waiting.slice(sure.length)
    return sure
  }
}

function readCall(text: string): ToolCall | null {
  let parsed: unknown
  try {
    parsed = JSON.parse(text)
  } catch {
    return null
  }
  const { name, arguments: given = {} } = (parsed ?? {}) as { name?: unknown; arguments?: unknown }
  if (typeof name !== 'string' || typeof given !== 'object' || given === null || Array.isArray(given)) return null
  const id = `call_${randomBytes(12).toString('hex')}`
  return { id, type: 'function', function: { name, arguments: asWritten(text, given) } }
}

/** The arguments in the model's own digits, where they stand last: numbers beyond 2^53 would not survive being parsed. */
function asWritten(text: string, given: object): string {
  const plain = JSON.stringify(given)
  const [, raw] = /"arguments"\s*:\s*(\{[\s\S]*\})\s*\}\s*$/.exec(text) ?? []
  try {
    return raw !== undefined && JSON.stringify(JSON.parse(raw)) === plain ? raw : plain
  } catch {
    return plain
  }
}
