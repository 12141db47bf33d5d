// Completions: texts or tokens in, their continuations out, whole or in chunks. With `echo` the prompts come first.

import type { Schemas } from '../../generated/operations.ts'
import type { SampleCall, SampleReply } from '../calls.ts'
import type { Services } from '../services/services.ts'
import { bestAt, characters, type TokenEntry } from './answer-text.ts'
import { type Drawing, drawStream, drawWhole, type Streaming } from './drawing.ts'
import { eventStream } from './events.ts'
import { checkCompletionFields, unserved } from './fields.ts'
import { type Frame, frameOf, usageOf } from './frame.ts'
import type { OpenAiHandlers } from './handlers.ts'
import { completionLogprobs } from './logprobs.ts'
import { type OpenModel, openModel } from './model.ts'
import { tokensOf } from './prompts.ts'
import { bestOf, sampleCall } from './sample-call.ts'

type Body = Schemas['CompletionRequest']
type Completion = Schemas['Completion']
type Choice = Schemas['CompletionChoice']

/** As OpenAI has it. */
const DEFAULT_MAX_TOKENS = 16
/** Choices of one answer. */
const MOST_CHOICES = 1024

interface Asked {
  readonly body: Body
  readonly model: OpenModel
  readonly frame: Frame
  readonly calls: readonly SampleCall[]
}

export function completionHandlers(services: Services) {
  return {
    createCompletion: async ({ tenant, body, request }) => {
      checkCompletionFields(body)
      checkEcho(body)
      const model = await openModel(services, tenant.id, body)
      const calls = await completionCalls(model, body)
      const asked = { body, model, frame: frameOf('cmpl', model), calls }
      const drawing: Drawing = { held: services.held, tenant: tenant.id, model, calls, signal: request.signal }
      return body.stream
        ? eventStream(chunks(asked, await drawStream(drawing)))
        : whole(asked, await drawWhole(drawing))
    },
  } satisfies Partial<OpenAiHandlers>
}

/** Throws UNSERVED_VALUE for what would have no meaning, or could only be told at the end. */
function checkEcho({ echo, max_tokens: maxTokens, n, stream, logprobs }: Body): void {
  if (maxTokens === 0 && !echo) throw unserved('max_tokens', 0, '1 or more, or 0 with echo = true')
  if (maxTokens === 0 && (n ?? 1) > 1) throw unserved('n', n, '1 where max_tokens is 0')
  if (echo && stream && logprobs != null) {
    throw unserved('stream', true, 'false with echo and logprobs: a prompt is scored as a whole')
  }
}

async function completionCalls(model: OpenModel, body: Body): Promise<SampleCall[]> {
  const { echo, logprobs, max_tokens: maxTokens, n } = body
  const best = bestOf('logprobs', logprobs, model)
  const prompts = await tokensOf(model, body.prompt)
  if (prompts.length * (n ?? 1) > MOST_CHOICES) {
    throw unserved('n', n, `at most ${MOST_CHOICES} divided by the number of prompts`)
  }
  const scorePrompt = (echo ?? false) && logprobs != null
  return prompts.map((prompt) =>
    sampleCall(body, model, { prompt, maxTokens: maxTokens ?? DEFAULT_MAX_TOKENS, best, scorePrompt }),
  )
}

/** How a prompt comes back: its text, and its tokens where they are scored. */
function echoed({ body, model }: Asked, { prompt }: SampleCall, reply?: SampleReply) {
  if (!body.echo) return { text: '', entries: [] }
  const { tokenizer } = model.text
  const decoder = new TextDecoder('utf-8', { ignoreBOM: true })
  let text = ''
  const entries: TokenEntry[] = []
  prompt.forEach((id, i) => {
    const logprob = reply?.promptLogprobs?.[i] ?? Number.NaN
    entries.push({ id, logprob, best: bestAt(reply?.promptTopk, i), offset: characters(text) })
    text += decoder.decode(tokenizer.tokenBytes(id), { stream: true })
  })
  return { text: text + decoder.decode(), entries }
}

type Whole = Awaited<ReturnType<typeof drawWhole>>

function whole(asked: Asked, { parts, replies }: Whole): Completion {
  const { body, model, frame, calls } = asked
  const choice = (index: number, text: string, entries: readonly TokenEntry[], finish: Choice['finish_reason']) => ({
    index,
    text,
    finish_reason: finish,
    logprobs: body.logprobs == null ? null : completionLogprobs(model.text.tokenizer, entries),
  })
  const choices = replies.flatMap((reply, i) => {
    const before = echoed(asked, calls[i] as SampleCall, reply)
    if (reply.sequences.length === 0) return [choice(i, before.text, before.entries, 'length')]
    const shift = characters(before.text)
    return reply.sequences.map((_, s) => {
      const { choice: index, text, entries, finish } = parts[i * reply.sequences.length + s] as Whole['parts'][number]
      const moved = entries.map((entry) => ({ ...entry, offset: shift + entry.offset }))
      return choice(index, before.text + text, [...before.entries, ...moved], finish)
    })
  })
  return { ...frame, object: 'text_completion', choices, usage: usageOf(calls, replies) }
}

async function* chunks(asked: Asked, { parts, replies }: Streaming): AsyncGenerator<Completion> {
  const { body, model, frame, calls } = asked
  const wantsUsage = body.stream_options?.include_usage ?? false
  const chunk = (choice: Choice): Completion => ({
    ...frame,
    object: 'text_completion',
    choices: [choice],
    ...(wantsUsage && { usage: null }),
  })
  const shifts: number[] = []
  for (const call of calls) {
    const { text } = echoed(asked, call)
    for (let i = 0; i < Math.max(1, call.samples); i++) {
      const finish = call.samples === 0 ? 'length' : null
      if (text !== '') yield chunk({ index: shifts.length, text, finish_reason: finish, logprobs: null })
      shifts.push(characters(text))
    }
  }
  for await (const { choice: index, text, entries, finish } of parts) {
    const moved = entries.map((entry) => ({ ...entry, offset: (shifts[index] as number) + entry.offset }))
    const logprobs =
      body.logprobs == null || moved.length === 0 ? null : completionLogprobs(model.text.tokenizer, moved)
    if (text !== '' || logprobs || finish) yield chunk({ index, text, finish_reason: finish, logprobs })
  }
  const usage = wantsUsage && usageOf(calls, await replies)
  if (usage) yield { ...frame, object: 'text_completion', choices: [], usage }
}
