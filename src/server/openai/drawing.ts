// The answers of one request as they are drawn, or when all are there: from calls through the service to the texts of the
// choices. Choices are numbered over all calls, in their order. Knows nothing of the shapes on the wire.

import { EventQueue } from '../../backends/event-queue.ts'
import type { SampleCall, SampleReply } from '../calls.ts'
import type { HeldSamples } from '../services/held-samples.ts'
import { AnswerText, type Piece } from './answer-text.ts'
import type { OpenModel } from './model.ts'

export type Finish = 'stop' | 'length'

/** What a choice has got. `finish` comes with the last of it. */
export interface Part extends Piece {
  readonly choice: number
  readonly finish: Finish | null
}

export interface Drawing {
  readonly held: HeldSamples
  readonly tenant: string
  readonly model: Pick<OpenModel, 'info' | 'text'>
  readonly calls: readonly SampleCall[]
  /** Aborts when the client goes away. */
  readonly signal: AbortSignal
  /** Special tokens that are text for the reader of this request. */
  readonly shown?: readonly string[]
}

export interface Streaming {
  readonly parts: AsyncIterable<Part>
  /** To be asked for when the parts have ended. */
  readonly replies: Promise<readonly SampleReply[]>
}

/** Waits for everything. */
export async function drawWhole(drawing: Drawing): Promise<{ parts: Part[]; replies: readonly SampleReply[] }> {
  const { held, tenant, calls, signal } = drawing
  const replies = await (await held.begin(tenant, calls, signal)).replies
  return { parts: lastParts(drawing, texts(drawing), replies), replies }
}

/** Returns when the samples are accepted. Whoever stops iterating frees their rows in the engine. */
export async function drawStream(drawing: Drawing): Promise<Streaming> {
  const { held, tenant, calls, signal } = drawing
  const answers = texts(drawing)
  const left = new AbortController()
  const parts = new EventQueue<Part>(() => left.abort())
  const firsts = firstChoices(calls)
  const { replies } = await held.begin(tenant, calls, AbortSignal.any([signal, left.signal]), (call, tokens) => {
    const choice = (firsts[call] as number) + tokens.index
    parts.push({ choice, ...(answers[choice] as AnswerText).push(tokens), finish: null })
  })
  replies.then(
    (all) => {
      for (const part of lastParts(drawing, answers, all)) parts.push(part)
      parts.end()
    },
    (cause) => parts.fail(cause),
  )
  return { parts, replies }
}

function texts({ model: { text, info }, calls, shown = [] }: Drawing): AnswerText[] {
  const { tokenizer } = text
  const specialIds = new Set(tokenizer.specialIds)
  for (const token of shown) specialIds.delete(tokenizer.idOf(token) ?? -1)
  const tokens = { specialIds, tokenBytes: (id: number) => tokenizer.tokenBytes(id) }
  return calls.flatMap(({ samples, stop }) =>
    Array.from({ length: samples }, () => new AnswerText(tokens, stop?.strings ?? [], info.endTokens)),
  )
}

/** What was not told while it was drawn, and how each choice ended. */
function lastParts({ calls }: Drawing, answers: readonly AnswerText[], replies: readonly SampleReply[]): Part[] {
  const firsts = firstChoices(calls)
  return replies.flatMap(({ sequences }, call) =>
    sequences.map((sequence, i) => {
      const choice = (firsts[call] as number) + i
      return { choice, ...(answers[choice] as AnswerText).end(sequence), finish: sequence.stopReason }
    }),
  )
}

/** The number of the first choice of each call. */
function firstChoices(calls: readonly SampleCall[]): number[] {
  let next = 0
  return calls.map(({ samples }) => {
    next += samples
    return next - samples
  })
}
