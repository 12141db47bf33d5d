// A Twinkle server of the age of SDK 0.16 that answers as one was recorded to: JSON only, and 404 for what it has not.

import { readFileSync } from 'node:fs'
import type { Fetch } from '../../client/tinker/http.ts'

interface Exchange {
  readonly request: { readonly method: string; readonly path: string; readonly body: unknown }
  readonly response: { readonly status: number; readonly body: Record<string, unknown> | null }
}

export interface Asked {
  readonly path: string
  readonly headers: Headers
  readonly body: unknown
}

const TRACE = new URL('traces/older-twinkle.json', import.meta.url)
const { exchanges } = JSON.parse(readFileSync(TRACE, 'utf8')) as { exchanges: Exchange[] }
const idOf = (body: unknown) => (body as { request_id?: string } | null)?.request_id

export class OlderTwinkle {
  readonly asked: Asked[] = []
  /** Recorded answers that are left, by path; those of futures by their id. */
  readonly #left = new Map<string, Exchange['response'][]>()

  constructor() {
    for (const { request, response } of exchanges) {
      const key = keyOf(request.path, request.body)
      this.#left.set(key, [...(this.#left.get(key) ?? []), response])
    }
  }

  readonly fetch: Fetch = async (url, init) => {
    const { pathname, search } = new URL(url)
    const path = pathname + search
    const body = typeof init.body === 'string' ? JSON.parse(init.body) : (init.body ?? null)
    this.asked.push({ path, headers: new Headers(init.headers), body })
    const answers = this.#left.get(keyOf(path, body)) ?? []
    // The last one is given again and again.
    const answer = answers.length > 1 ? answers.shift() : answers[0]
    return new Response(JSON.stringify(answer?.body ?? { detail: 'Not Found' }), {
      status: answer?.status ?? 404,
      headers: { 'content-type': 'application/json' },
    })
  }
}

/** What the real SDK 0.16.1 sent to a route. */
export function recordedBody(route: string): unknown {
  return exchanges.find(({ request }) => request.path === `/api/v1/${route}`)?.request.body
}

function keyOf(path: string, body: unknown): string {
  return path.endsWith('retrieve_future') ? `future ${idOf(body)}` : path
}
