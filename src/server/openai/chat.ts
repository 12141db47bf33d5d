// Chat completions: messages in, an answer out, whole or in chunks.

import type { Schemas } from '../../generated/operations.ts'
import type { SampleCall } from '../calls.ts'
import type { Services } from '../services/services.ts'
import { type Drawing, drawStream, drawWhole, type Finish, type Part, type Streaming } from './drawing.ts'
import { eventStream } from './events.ts'
import { checkChatFields, unserved } from './fields.ts'
import { type Frame, frameOf, usageOf } from './frame.ts'
import type { OpenAiHandlers } from './handlers.ts'
import { chatLogprobs } from './logprobs.ts'
import { renderChat, toolsOf } from './messages.ts'
import { type OpenModel, openModel } from './model.ts'
import { bestOf, checkLength, sampleCall } from './sample-call.ts'
import { TOOL_TAGS, type ToolCall, ToolReader } from './tool-calls.ts'

type Body = Schemas['ChatCompletionRequest']

interface Chat {
  readonly body: Body
  readonly model: OpenModel
  readonly frame: Frame
  readonly call: SampleCall
  readonly choices: readonly ChatChoice[]
}

export function chatHandlers(services: Services) {
  return {
    createChatCompletion: async ({ tenant, body, request }) => {
      checkChatFields(body)
      const model = await openModel(services, tenant.id, body)
      const call = await chatCall(model, body)
      const takesTools = toolsOf(body) !== undefined
      const choices = Array.from({ length: call.samples }, () => new ChatChoice(takesTools))
      const chat = { body, model, frame: frameOf('chatcmpl', model), call, choices }
      const drawing: Drawing = {
        held: services.held,
        tenant: tenant.id,
        model,
        calls: [call],
        signal: request.signal,
        shown: takesTools ? TOOL_TAGS : [],
      }
      return body.stream ? eventStream(chunks(chat, await drawStream(drawing))) : whole(chat, await drawWhole(drawing))
    },
  } satisfies Partial<OpenAiHandlers>
}

async function chatCall(model: OpenModel, body: Body): Promise<SampleCall> {
  const { logprobs, top_logprobs: top } = body
  if (top != null && !logprobs) throw unserved('top_logprobs', top, 'given only with logprobs = true')
  const best = bestOf('top_logprobs', top, model)
  // The template writes the model's start token where there is one.
  const text = renderChat(model, body)
  checkLength(model, text)
  const prompt = await model.encode(text, false)
  return sampleCall(body, model, { prompt, maxTokens: body.max_completion_tokens ?? body.max_tokens ?? null, best })
}

interface Said {
  readonly content: string
  readonly calls: readonly ToolCall[]
  readonly finish: Finish | 'tool_calls' | null
}

/** One answer: with tools, what calls them is told apart from what is said. */
class ChatChoice {
  readonly #tools: ToolReader | null
  constructor(takesTools: boolean) {
    this.#tools = takesTools ? new ToolReader() : null
  }

  read({ text, finish }: Part): Said {
    const tools = this.#tools
    if (!tools) return { content: text, calls: [], finish }
    const [now, rest] = [tools.push(text), finish === null ? null : tools.end()]
    return {
      content: now.content + (rest?.content ?? ''),
      calls: [...now.calls, ...(rest?.calls ?? [])],
      finish: finish === 'stop' && tools.hasCalled ? 'tool_calls' : finish,
    }
  }
}

type Whole = Awaited<ReturnType<typeof drawWhole>>

function whole({ body, model, frame, call, choices }: Chat, { parts, replies }: Whole): Schemas['ChatCompletion'] {
  return {
    ...frame,
    object: 'chat.completion',
    choices: parts.map((part) => {
      const { content, calls, finish } = (choices[part.choice] as ChatChoice).read(part)
      return {
        index: part.choice,
        message: {
          role: 'assistant',
          content: content === '' && calls.length > 0 ? null : content,
          refusal: null,
          ...(calls.length > 0 && { tool_calls: [...calls] }),
        },
        finish_reason: finish ?? 'stop',
        logprobs: body.logprobs ? chatLogprobs(model.text.tokenizer, part.entries) : null,
      }
    }),
    usage: usageOf([call], replies),
  }
}

type Chunk = Schemas['ChatCompletionChunk']
type Delta = Chunk['choices'][number]['delta']

async function* chunks(chat: Chat, { parts, replies }: Streaming): AsyncGenerator<Chunk> {
  const { body, model, frame, call, choices } = chat
  const wantsUsage = body.stream_options?.include_usage ?? false
  const called = choices.map(() => 0)
  const chunk = (index: number, delta: Delta, more: Partial<Chunk['choices'][number]> = {}): Chunk => ({
    ...frame,
    object: 'chat.completion.chunk',
    choices: [{ index, delta, finish_reason: null, logprobs: null, ...more }],
    ...(wantsUsage && { usage: null }),
  })
  for (const index of choices.keys()) yield chunk(index, { role: 'assistant', content: '' })
  for await (const part of parts) {
    const { choice, entries } = part
    const { content, calls, finish } = (choices[choice] as ChatChoice).read(part)
    const logprobs = body.logprobs && entries.length > 0 ? chatLogprobs(model.text.tokenizer, entries) : null
    if (content !== '' || logprobs) yield chunk(choice, { content }, { logprobs })
    for (const one of calls) {
      yield chunk(choice, { tool_calls: [{ index: called[choice] as number, ...one }] })
      called[choice] = (called[choice] as number) + 1
    }
    if (finish) yield chunk(choice, {}, { finish_reason: finish })
  }
  const usage = wantsUsage && usageOf([call], await replies)
  if (usage) yield { ...frame, object: 'chat.completion.chunk', choices: [], usage }
}
