// Stands before a server and notes what comes by: method, path and headers of every request. Knows HTTP as far as it has
// to be passed on.

import { once } from 'node:events'
import { createServer, type IncomingHttpHeaders, type IncomingMessage, request, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

export interface Heard {
  readonly method: string
  readonly path: string
  readonly headers: IncomingHttpHeaders
}

export interface ListeningProxy {
  readonly host: string
  readonly heard: readonly Heard[]
  stop(): Promise<void>
}

export async function listenBefore(target: string): Promise<ListeningProxy> {
  const heard: Heard[] = []
  const pass = (incoming: IncomingMessage, answer: ServerResponse) => {
    const { method = '', url: path = '', headers } = incoming
    heard.push({ method, path, headers })
    const passed = request(new URL(path, target), { method, headers, agent: false }, (reply) => {
      answer.writeHead(reply.statusCode ?? 502, reply.headers)
      reply.on('error', () => answer.destroy())
      reply.pipe(answer)
    })
    passed.on('error', () => answer.destroy())
    answer.on('close', () => passed.destroy())
    incoming.pipe(passed)
  }
  const server = createServer(pass)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const stop = async () => {
    server.close()
    server.closeAllConnections()
    await once(server, 'close')
  }
  return { host: `127.0.0.1:${(server.address() as AddressInfo).port}`, heard, stop }
}
