// A server that holds recorded exchanges of the Python SDK: every request must be the next recorded one, apart from what
// rightly differs between clients, and gets the recorded answer.

import { readFileSync } from 'node:fs'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tinker_public as pb } from '../../../generated/tinker-proto.js'

interface Body {
  readonly json?: Readonly<Record<string, unknown>>
  readonly base64?: string
}

export interface Exchange {
  readonly note?: string
  readonly request: { readonly method: string; readonly path: string; readonly body?: Body }
  readonly response: { readonly status: number; readonly content_type: string; readonly body?: Body }
}

export function recorded(name: string): Exchange[] {
  const file = new URL(`./traces/${name}.json`, import.meta.url)
  return (JSON.parse(readFileSync(file, 'utf8')) as { exchanges: Exchange[] }).exchanges
}

export interface Replay {
  readonly url: string
  /** What was asked other than recorded, in words. */
  readonly differences: string[]
  /** Recorded exchanges that nobody has asked for yet. */
  left(): number
  close(): Promise<void>
}

export async function replay(exchanges: readonly Exchange[]): Promise<Replay> {
  const differences: string[] = []
  let next = 0
  const server = createServer(async (request, response) => {
    const exchange = exchanges[next++]
    const body = await bytesOf(request)
    const difference = exchange ? differenceOf(exchange, request, body) : `nothing more was recorded: ${request.url}`
    if (difference !== null) differences.push(difference)
    answer(response, exchange)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    differences,
    left: () => exchanges.length - next,
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
  const bytes = body?.base64 ? Buffer.from(body.base64, 'base64') : Buffer.from(JSON.stringify(body?.json ?? {}))
  response.writeHead(status, { 'content-type': type }).end(bytes)
}

function differenceOf({ request }: Exchange, actual: IncomingMessage, body: Buffer): string | null {
  const expected = `${request.method} ${request.path}`
  if (`${actual.method} ${actual.url}` !== expected) return `${actual.method} ${actual.url} instead of ${expected}`
  const wanted = request.body?.base64 ? training(Buffer.from(request.body.base64, 'base64')) : text(request.body?.json)
  const got = request.body?.base64 ? training(body) : text(body.length > 0 ? JSON.parse(body.toString()) : undefined)
  return wanted === got ? null : `${expected}: ${got} instead of ${wanted}`
}

/** Counters go on from trace to trace in a recording, and each client has its own version. */
const INCOMPARABLE = new Set(['seq_id', 'sampling_session_seq_id', 'sdk_version'])

function text(value: unknown): string {
  return JSON.stringify(sorted(value))
}

function training(bytes: Uint8Array): string {
  return text(JSON.parse(JSON.stringify(pb.ForwardBackwardRequest.decode(bytes))))
}

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted)
  if (typeof value !== 'object' || value === null) return value
  const entries = Object.entries(value).filter(([name]) => !INCOMPARABLE.has(name))
  return Object.fromEntries(entries.sort(([a], [b]) => (a < b ? -1 : 1)).map(([name, inner]) => [name, sorted(inner)]))
}
