// Server-sent events as OpenAI's clients read them: one JSON value each, and `[DONE]` after the last. An answer whose status
// is sent can fail only within: the error is the last event then, and there is no `[DONE]`.

import { Readable } from 'node:stream'
import { toServiceError } from '../errors.ts'
import type { StreamResult } from '../http/handler.ts'
import { openAiError } from './errors.ts'

/** Stops iterating when the client goes away. */
export function eventStream(events: AsyncIterable<unknown>): StreamResult {
  return {
    contentType: 'text/event-stream; charset=utf-8',
    // Proxies must neither keep the events nor gather them.
    headers: { 'cache-control': 'no-cache', 'x-accel-buffering': 'no' },
    stream: Readable.from(lines(events)),
  }
}

async function* lines(events: AsyncIterable<unknown>): AsyncGenerator<string> {
  try {
    for await (const event of events) yield line(event)
    yield 'data: [DONE]\n\n'
  } catch (thrown) {
    yield line(openAiError(toServiceError(thrown)))
  }
}

const line = (event: unknown): string => `data: ${JSON.stringify(event)}\n\n`
