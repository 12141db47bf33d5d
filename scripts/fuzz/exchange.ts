// Sends one request exactly as it is described, over a kept connection, and says how it ended. It knows HTTP and nothing of
// what is asked.

import * as http from 'node:http'
import type { HostileRequest } from './requests.ts'

/** Clients of a polled future give up at 45 s; the server under test holds a poll for one second. */
const HANG_MS = 30_000

export interface Ending {
  /** 0: there was no answer. */
  readonly status: number
  readonly type: string
  readonly body: Buffer
  /** Why there was none: the connection's error, or `no answer within 30 s`. */
  readonly failure: string | null
}

export class Sender {
  readonly #origin: URL
  readonly #agent: http.Agent

  constructor(url: string, connections: number) {
    this.#origin = new URL(url)
    this.#agent = new http.Agent({ keepAlive: true, maxSockets: connections })
  }

  send(request: HostileRequest): Promise<Ending> {
    return new Promise((resolve) => {
      const fail = (failure: string) => resolve({ status: 0, type: '', body: Buffer.alloc(0), failure })
      const { hostname: host, port } = this.#origin
      const { method, path, headers, body } = request
      const sent = http.request({
        host,
        port,
        agent: this.#agent,
        method,
        path,
        headers: { ...headers, ...lengthOf(body) },
      })
      const timer = setTimeout(() => {
        fail(`no answer within ${HANG_MS / 1000} s`)
        sent.destroy()
      }, HANG_MS)
      sent.once('error', (error) => {
        clearTimeout(timer)
        fail(error.message)
      })
      sent.once('response', (response) => {
        const parts: Buffer[] = []
        response.on('data', (part: Buffer) => parts.push(part))
        response.once('error', (error) => fail(error.message))
        response.once('end', () => {
          clearTimeout(timer)
          const { statusCode = 0, headers } = response
          resolve({
            status: statusCode,
            type: headers['content-type'] ?? '',
            body: Buffer.concat(parts),
            failure: null,
          })
        })
      })
      sent.end(body ?? undefined)
    })
  }

  close(): void {
    this.#agent.destroy()
  }
}

const lengthOf = (body: Buffer | null) => (body === null ? {} : { 'content-length': body.length })
