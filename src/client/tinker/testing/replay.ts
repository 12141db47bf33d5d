// A server that holds recorded exchanges of the Python SDK: every request must be the next recorded one in method, path,
// headers and body, apart from what rightly differs between clients, and gets the recorded answer.

import { readFileSync } from 'node:fs'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { decompress } from 'fzstd'
import { tinker_public as pb } from '../../../generated/tinker-proto.js'

interface Body {
  readonly json?: Readonly<Record<string, unknown>>
  readonly base64?: string
}

export interface Exchange {
  readonly note?: string
  readonly request: {
    readonly method: string
    readonly path: string
    readonly headers?: Readonly<Record<string, string>>
    readonly body?: Body
  }
  readonly response: { readonly status: number; readonly content_type: string | null; readonly body?: Body }
}

export function recorded(name: string): Exchange[] {
  const file = new URL(`./traces/${name}.json`, import.meta.url)
  return (parseLosslessly(readFileSync(file, 'utf8')) as { exchanges: Exchange[] }).exchanges
}

/** The exchange with another answer. */
export function answering(exchange: Exchange, json: Readonly<Record<string, unknown>>): Exchange {
  return { ...exchange, response: { ...exchange.response, body: { json } } }
}

/** A session for what was recorded in another one. */
export function startOf(sessionId: string, config: object = {}, dynamic: Exchange | undefined = undefined): Exchange[] {
  const [clientConfig, dynamicConfig, session] = recorded('01-start-session')
  const json = { tags: [], user_metadata: {}, sdk_version: '0.38.0', type: 'create_session' }
  const plain = { ...session!, request: { ...session!.request, body: { json } } }
  return [
    answering(clientConfig!, { use_pyqwest_transport: false, ...config }),
    dynamic ?? dynamicConfig!,
    answering(plain, { session_id: sessionId }),
  ]
}

/** The recording with one session's ids for another's. */
export function inSession(exchanges: readonly Exchange[], from: string, to: string): Exchange[] {
  return JSON.parse(JSON.stringify(exchanges).replaceAll(from, to)) as Exchange[]
}

/** The recorded creation of a sampling session as the first of its session. */
export function firstSampler(): Exchange {
  const [exchange] = recorded('08-sampling-client')
  const json = { ...exchange!.request.body!.json, sampling_session_seq_id: 0 }
  return { ...exchange!, request: { ...exchange!.request, body: { json } } }
}

export interface Replay {
  readonly url: string
  /** What was asked other than recorded, in words. */
  readonly differences: string[]
  /** Recorded exchanges that nobody has asked for yet. */
  left(): string[]
  /** Resolves when everything recorded has been asked for. */
  readonly done: Promise<void>
  close(): Promise<void>
}

/**
 * `window`: how many of the next exchanges may come in any order, for those that are under way at the same time. `holds`:
 * ends of paths of requests that the recording leaves out: they wait for an answer instead of being a difference.
 */
export async function replay(
  exchanges: readonly Exchange[],
  { window = 1, holds = [] }: { readonly window?: number; readonly holds?: readonly string[] } = {},
): Promise<Replay> {
  const differences: string[] = []
  const left = [...exchanges]
  let finish = () => {}
  const done = new Promise<void>((resolve) => {
    finish = resolve
  })
  const server = createServer(async (request, response) => {
    const body = await bytesOf(request)
    const open = left.slice(0, window)
    const same = open.find((exchange) => differenceOf(exchange, request, body) === null)
    if (!same && holds.some((end) => request.url?.endsWith(end))) return
    const found = same ?? open[0]
    const difference = found ? differenceOf(found, request, body) : `nothing more was recorded: ${request.url}`
    if (difference !== null) differences.push(difference)
    if (found) left.splice(left.indexOf(found), 1)
    if (left.length === 0) finish()
    answer(response, found)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    differences,
    left: () => left.map(({ request }) => `${request.method} ${request.path}`),
    done,
    close: () =>
      new Promise((resolve) => {
        server.closeAllConnections()
        server.close(() => resolve())
      }),
  }
}

async function bytesOf(request: IncomingMessage): Promise<Buffer> {
  const parts: Buffer[] = []
  for await (const part of request) parts.push(part as Buffer)
  return Buffer.concat(parts)
}

function answer(response: ServerResponse, exchange: Exchange | undefined): void {
  if (!exchange) {
    response.writeHead(404, { 'content-type': 'application/json' }).end('{"detail":"not recorded"}')
    return
  }
  const { status, content_type: type, body } = exchange.response
  const bytes = body?.base64 ? Buffer.from(body.base64, 'base64') : Buffer.from(body ? JSON.stringify(body.json) : '')
  response.writeHead(status, type === null ? {} : { 'content-type': type }).end(bytes)
}

function differenceOf({ request }: Exchange, actual: IncomingMessage, body: Buffer): string | null {
  const expected = `${request.method} ${request.path}`
  if (`${actual.method} ${actual.url}` !== expected) return `${actual.method} ${actual.url} instead of ${expected}`
  const header = headerDifference(request.headers ?? {}, actual)
  if (header !== null) return `${expected}: ${header}`
  const wanted = request.body?.base64 ? training(Buffer.from(request.body.base64, 'base64')) : text(request.body?.json)
  const got = request.body?.base64 ? training(decoded(actual, body)) : text(body.length > 0 ? json(body) : undefined)
  return wanted === got ? null : `${expected}: ${got} instead of ${wanted}`
}

/** Headers that a server acts on. Of some only the presence can be alike. */
const COMPARED = [
  'accept',
  'content-type',
  'content-encoding',
  'x-sdk-version',
  'x-sdk-method',
  'x-stainless-retry-count',
  'x-stainless-raw-response',
  'x-tinker-request-iteration',
  'x-tinker-request-type',
  'x-tinker-sampling-backpressure',
]
const PRESENT = ['x-api-key', 'x-idempotency-key', 'x-tinker-weights-access-token']

function headerDifference(wanted: Readonly<Record<string, string>>, { headers }: IncomingMessage): string | null {
  const values = COMPARED.filter((name) => headers[name] !== wanted[name]).map(
    (name) => `${name} is ${headers[name]} instead of ${wanted[name]}`,
  )
  const presence = PRESENT.filter((name) => name in headers !== name in wanted).map(
    (name) => `${name} is ${name in headers ? 'there' : 'missing'}`,
  )
  const timeout = 'x-stainless-read-timeout'
  const times = Number(headers[timeout]) === Number(wanted[timeout]) ? [] : [`${timeout} is ${headers[timeout]}`]
  return [...values, ...presence, ...times][0] ?? null
}

function decoded({ headers }: IncomingMessage, body: Buffer): Buffer {
  return headers['content-encoding'] === 'zstd' ? Buffer.from(decompress(body)) : body
}

function json(body: Buffer): unknown {
  return parseLosslessly(body.toString())
}

/** Integers that a double does not hold become text, which compares digit by digit. */
function parseLosslessly(source: string): unknown {
  return JSON.parse(source.replace(/([[:,]\s*)(-?\d{16,})(?=\s*[,\]}])/g, '$1"$2"'))
}

function text(value: unknown): string {
  return JSON.stringify(sorted(value))
}

function training(bytes: Uint8Array): string {
  return text(JSON.parse(JSON.stringify(pb.ForwardBackwardRequest.decode(bytes))))
}

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted)
  if (typeof value !== 'object' || value === null) return value
  const entries = Object.entries(value).map(([name, inner]) => [name, sorted(inner)] as const)
  return Object.fromEntries(entries.sort(([a], [b]) => (a < b ? -1 : 1)))
}
