// Messages as they come (parts, tool calls as JSON texts, thoughts in tags) to messages as chat templates expect them. Only
// text is understood: media are refused by name.

import { CatalogueError, invalidArgument } from '../catalogue-error.ts'
import { invalidRow, isRow, type Message, type Trajectory } from '../rows.ts'

const MEDIA = ['images', 'videos', 'audios']

/** @param knowsThoughts Whether the chat template does anything with `reasoning_content`. */
export function standardMessages(trajectory: Trajectory, knowsThoughts: boolean): Message[] {
  refuseMedia(trajectory)
  return trajectory.messages.map((message) => standardMessage(message, knowsThoughts))
}

function standardMessage(message: unknown, knowsThoughts: boolean): Message {
  if (!isRow(message) || typeof message.role !== 'string') throw invalidRow('has a message without a role')
  refuseMedia(message)
  const standard: Record<string, unknown> & { role: string } = {
    ...message,
    role: message.role,
    content: textOfContent(message.content),
  }
  if (message.tool_calls != null) standard.tool_calls = toolCallsOf(message.tool_calls)
  if (message.role === 'assistant' && knowsThoughts) Object.assign(standard, withThoughts(standard))
  return { ...standard, content: standard.content }
}

/** `<think>A</think>B` becomes the thought A and the content B. */
function withThoughts({ content, reasoning_content: known }: Record<string, unknown>) {
  if (typeof known === 'string') return {}
  const text = content as string
  const end = text.lastIndexOf('</think>')
  if (end < 0) return { reasoning_content: '' }
  const before = text.slice(0, text.indexOf('</think>'))
  const thought = before.slice(before.lastIndexOf('<think>') + 1 ? before.lastIndexOf('<think>') + '<think>'.length : 0)
  return {
    reasoning_content: withoutNewlines(thought),
    content: text.slice(end + '</think>'.length).replace(/^\n+/, ''),
  }
}

/** At either end. In one pass: a pattern for the last ones would look anew from each newline of the text. */
function withoutNewlines(text: string): string {
  let [start, end] = [0, text.length]
  while (start < end && text[start] === '\n') start++
  while (end > start && text[end - 1] === '\n') end--
  return text.slice(start, end)
}

/** A text, nothing, or parts that are texts. */
function textOfContent(content: unknown): string {
  if (content == null) return ''
  if (typeof content === 'string') return content
  if (!Array.isArray(content)) throw invalidRow('has a message whose content is neither a text nor a list of parts')
  return content.map(textOfPart).join('')
}

function textOfPart(part: unknown): string {
  if (typeof part === 'string') return part
  if (isRow(part) && typeof part.text === 'string') return part.text
  throw noMedia(isRow(part) ? String(part.type) : 'unknown')
}

/** The calls, or a JSON text of them; their arguments likewise. */
function toolCallsOf(given: unknown): unknown[] {
  const calls = typeof given === 'string' ? parsed(given, []) : given
  if (!Array.isArray(calls)) throw invalidRow('has a message whose tool_calls are no list')
  return calls.map((call) => {
    if (!isRow(call) || !isRow(call.function)) throw invalidRow('has a tool call without a function')
    const { arguments: args } = call.function
    return {
      ...call,
      function: { ...call.function, arguments: typeof args === 'string' ? parsed(args, {}) : (args ?? {}) },
    }
  })
}

function parsed(text: string, empty: unknown): unknown {
  if (text.trim() === '') return empty
  try {
    return JSON.parse(text)
  } catch {
    throw invalidArgument('message', 'tool_calls', 'arguments', text, 'an object, or JSON of one')
  }
}

function refuseMedia(given: Readonly<Record<string, unknown>>): void {
  const media = MEDIA.find((name) => Array.isArray(given[name]) && given[name].length > 0)
  if (media !== undefined) throw noMedia(media)
}

function noMedia(kind: string): CatalogueError {
  return new CatalogueError(
    'UNSUPPORTED_NAME',
    `A message has content of the kind ${kind}, which the text models served here cannot read.`,
    'Send text only.',
  )
}
