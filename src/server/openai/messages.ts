// From the messages and tools of a chat completion to the prompt: what the model's chat template is given, and what it makes
// of it. Knows the shapes of messages; templates are formats/chat-template.ts's.

import { type ChatMessage, ChatTemplateError } from '../../formats/chat-template.ts'
import type { Schemas } from '../../generated/operations.ts'
import { serviceError } from '../errors.ts'
import { unserved } from './fields.ts'
import type { OpenModel } from './model.ts'
import { tooLong } from './sample-call.ts'

type Body = Schemas['ChatCompletionRequest']
type Message = Schemas['ChatMessage']

/** Fields of a message that a template may use. Others ask for what text models cannot do. */
const FIELDS: ReadonlySet<string> = new Set<keyof Message>([
  'role',
  'content',
  'name',
  'tool_call_id',
  'tool_calls',
  'reasoning_content',
])

/** The text that the model continues. Throws NO_CHAT_TEMPLATE, NO_TOOL_TEMPLATE, TEMPLATE_REFUSED and what is wrong in a message. */
export function renderChat(model: OpenModel, body: Body): string {
  const { template } = model.text
  if (!template) throw serviceError('NO_CHAT_TEMPLATE', { model: model.name })
  const tools = toolsOf(body)
  if (tools && !template.mentions('tools')) throw serviceError('NO_TOOL_TEMPLATE', { model: model.name })
  // Each takes a token at least, and templates go through all of them.
  if (body.messages.length > model.info.maxContext) throw tooLong(model, `at least ${body.messages.length}`, 'some')
  const messages = body.messages.map(templateMessage)
  try {
    return template.render(messages, {
      addGenerationPrompt: true,
      ...(tools && { tools }),
      ...(body.chat_template_kwargs && { variables: body.chat_template_kwargs }),
    })
  } catch (cause) {
    if (!(cause instanceof ChatTemplateError)) throw cause
    const problem = (cause.cause as Error).message.replace(/\.$/, '')
    throw serviceError('TEMPLATE_REFUSED', { model: model.name, problem }, { cause })
  }
}

/** The tools that the model is shown; undefined: none. Which of them it calls is its own choice. */
export function toolsOf({ tools, tool_choice: choice }: Body): readonly Schemas['ChatTool'][] | undefined {
  if (choice != null && choice !== 'auto' && choice !== 'none') {
    throw unserved('tool_choice', choice, '"auto" or "none": nothing here can force a call')
  }
  if (choice === 'none' || !tools?.length) return undefined
  tools.forEach(({ function: { strict } }, i) => {
    if (strict) throw unserved(`tools[${i}].function.strict`, strict, 'false, or left out')
  })
  return tools
}

function templateMessage(message: Message, i: number): ChatMessage {
  const where = `messages[${i}]`
  for (const [field, value] of Object.entries(message)) {
    if (value != null && !FIELDS.has(field)) {
      throw serviceError('UNSERVED_FIELD', { field: `${where}.${field}`, operation: 'a message', fields: [...FIELDS] })
    }
  }
  const { role, content, tool_calls: calls, ...rest } = message
  if (content == null && role !== 'assistant') {
    throw serviceError('INVALID_MESSAGE', { field: `${where}.content`, problem: 'is missing', expected: 'a text' })
  }
  return {
    ...Object.fromEntries(Object.entries(rest).filter(([, value]) => value !== null)),
    role: role === 'developer' ? 'system' : role,
    content: contentOf(content ?? '', `${where}.content`),
    ...(calls?.length && { tool_calls: calls.map((call, j) => templateCall(call, `${where}.tool_calls[${j}]`)) }),
  }
}

function contentOf(content: NonNullable<Message['content']>, where: string): string {
  if (typeof content === 'string') return content
  const texts = content.map(({ type, text }, i) => {
    if (type !== 'text') throw unserved(`${where}[${i}].type`, type, '"text": the models here read nothing else')
    if (text != null) return text
    throw serviceError('INVALID_MESSAGE', { field: `${where}[${i}].text`, problem: 'is missing', expected: 'a text' })
  })
  return texts.join('')
}

/** Templates write arguments as JSON themselves, so they are given what the JSON means. */
function templateCall({ id, type, function: { name, arguments: text } }: Schemas['ChatToolCall'], where: string) {
  const field = `${where}.function.arguments`
  let given: unknown
  try {
    given = JSON.parse(text === '' ? '{}' : text)
  } catch (cause) {
    const problem = `is not valid JSON (${(cause as Error).message})`
    throw serviceError('INVALID_MESSAGE', { field, problem, expected: 'a JSON object as text' })
  }
  if (typeof given === 'object' && given !== null && !Array.isArray(given)) {
    return { id, type, function: { name, arguments: given } }
  }
  throw serviceError('INVALID_MESSAGE', { field, problem: 'is no object', expected: 'a JSON object as text' })
}
