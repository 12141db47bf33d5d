// An answer of a server, and what is made of it: JSON, or an error that says what came from where and what to do next.

import { ConnectionError, classOfStatus, type StatusError, UnexpectedAnswerError } from './errors.ts'

export interface Answer {
  readonly url: string
  readonly status: number
  readonly headers: Headers
  readonly contentType: string
  readonly bytes: Uint8Array
}

const SHOWN = 500

export function isProtobuf(answer: Answer): boolean {
  return answer.contentType.includes('application/x-protobuf')
}

/** Undefined for an empty body. Throws UnexpectedAnswerError. */
export function parseJson({ url, bytes, contentType }: Answer): unknown {
  const text = new TextDecoder().decode(bytes)
  if (text === '') return undefined
  try {
    return JSON.parse(text)
  } catch {
    throw new UnexpectedAnswerError(
      `${url} answered with ${contentType || 'something'} that is not JSON: ${JSON.stringify(text.slice(0, 80))}. Next: check the base URL (baseUrl, or TINKER_BASE_URL): this is not a Tinker server, or a proxy before one.`,
    )
  }
}

export function unreachable(url: string, cause: unknown): ConnectionError {
  return new ConnectionError(
    `${url} could not be reached: ${reasonOf(cause)}. Next: see that the server runs (twinkle serve), and that the base URL (baseUrl, or TINKER_BASE_URL) is its address.`,
    { cause },
  )
}

/** With the server's own sentence, where it gave one. */
export function statusError(url: string, response: Response, bytes: Uint8Array): StatusError {
  const text = new TextDecoder().decode(bytes)
  const body = jsonOrNothing(text) as { detail?: unknown; code?: unknown } | null | undefined
  const code = typeof body?.code === 'string' ? body.code : undefined
  const said = typeof body?.detail === 'string' ? body.detail : withoutDetail(url, response, text)
  const Class = classOfStatus(response.status)
  return new Class(response.status, `${response.status}: ${said}`, response.headers, code)
}

/** A server of the protocol gives a reason; this one may be a proxy, or something else altogether. */
function withoutDetail(url: string, response: Response, text: string): string {
  const said = text.slice(0, SHOWN) || response.statusText || 'no reason given'
  if (response.status !== 404) return `${url} answered: ${said}`
  return `${url} is not there: ${said}. Next: check the base URL; if it is a Tinker server's, it may be too old for this.`
}

function jsonOrNothing(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

function reasonOf(error: unknown): string {
  const { message, cause } = error as { message?: string; cause?: { code?: string; message?: string } }
  return cause?.code ?? cause?.message ?? message ?? String(error)
}
