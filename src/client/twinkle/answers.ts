// What an answer that is none is called: refusals of the server, routes it has not, connections that broke.

import {
  AuthenticationError,
  ConnectionError,
  MissingRouteError,
  NotFoundError,
  StatusError,
  UnexpectedAnswerError,
} from './errors.ts'

/** With the server's own sentence, where it gave one. `body` is the answer's JSON, or its text. */
export function refusal(response: Response, body: unknown): StatusError {
  const { status, url } = response
  const { detail, code } = (typeof body === 'object' && body !== null ? body : {}) as Record<string, unknown>
  const known = typeof code === 'string' ? code : undefined
  const sentence = typeof detail === 'string' ? detail : Array.isArray(detail) ? JSON.stringify(detail) : null
  if (status === 401 || status === 403) {
    return new AuthenticationError(status, `${status}: ${sentence ?? 'the key was refused'} Next: check apiKey.`, known)
  }
  if (status === 404 && isOfRoute(sentence, known)) {
    return new MissingRouteError(
      status,
      `${url} is not there. Next: check the base URL; if it is a Twinkle server's, it is older than this route.`,
      known,
    )
  }
  const message = `${status}: ${sentence ?? `${url} gave no reason (${String(body).slice(0, 200)})`}`
  return status === 404 ? new NotFoundError(status, message, known) : new StatusError(status, message, known)
}

/** Things that are not there come with a sentence of their own; frameworks say two words of routes. */
function isOfRoute(sentence: string | null, code: string | undefined): boolean {
  return sentence === null || sentence === 'Not Found' || code === 'NOT_FOUND' || code === 'PLANNED_OPERATION'
}

type Kind = 'array' | 'string' | 'number' | 'object'

/** An answer with the fields that this client reads of it. Throws UnexpectedAnswerError that names what is missing. */
export function shaped<T>(operation: string, answer: T, fields: { readonly [K in keyof T]?: Kind }): NonNullable<T> {
  const given = (answer ?? {}) as Record<string, unknown>
  for (const [field, kind] of Object.entries(fields) as [string, Kind][]) {
    if (kindOf(given[field]) === kind) continue
    throw new UnexpectedAnswerError(
      `${operation} was answered without its ${field}. Next: check the base URL: this may be no Twinkle server, or one of another age.`,
    )
  }
  return answer as NonNullable<T>
}

/** What was computed, which may be null. Throws UnexpectedAnswerError for an answer without a result. */
export function resultOf<T>(operation: string, answer: unknown): T {
  const { result } = (answer ?? {}) as { readonly result?: T }
  if (result !== undefined) return result
  throw new UnexpectedAnswerError(
    `${operation} was answered without a result. Next: check the base URL: this may be no Twinkle server.`,
  )
}

const kindOf = (value: unknown) => (value === null ? 'null' : Array.isArray(value) ? 'array' : typeof value)

/** In milliseconds; null for none. */
export function retryAfterMs({ headers }: Response): number | null {
  const ms = Number(headers.get('retry-after') ?? Number.NaN) * 1000
  return ms >= 0 ? ms : null
}

/** Codes of connections that were never made. */
const NEVER_MADE = ['ECONNREFUSED', 'ENOTFOUND', 'EAI_AGAIN', 'EHOSTUNREACH', 'ENETUNREACH', 'UND_ERR_CONNECT_TIMEOUT']

export function fetchFailure(baseUrl: string, cause: unknown): { error: ConnectionError; wasSent: boolean } {
  const { message, cause: inner } = cause as { message?: string; cause?: { code?: string; message?: string } }
  const reason = inner?.code ?? inner?.message ?? message ?? String(cause)
  const wasSent = !NEVER_MADE.includes(inner?.code ?? '')
  const sentence = wasSent
    ? `The connection to ${baseUrl} broke (${reason}); the server may have done what was asked. Next: look at the run (calculateMetric, getTrainConfigs) before asking again.`
    : `${baseUrl} could not be reached (${reason}). Next: see that the server runs (twinkle serve), and that baseUrl or TWINKLE_SERVER_URL is its address.`
  return { error: new ConnectionError(sentence, { cause }), wasSent }
}
