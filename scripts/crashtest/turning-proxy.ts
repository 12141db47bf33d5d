// What stands before several servers: sends each request to the next of them that answers. A request that dies with its
// server dies here too; whoever sent it sends it again. Knows HTTP as far as it has to be passed on.

import { once } from 'node:events'
import { createServer, type IncomingMessage, request, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

export class TurningProxy {
  readonly #server: Server
  readonly #targets: () => readonly string[]
  /** Requests passed on, by target. */
  readonly passed = new Map<string, number>()
  #turn = 0

  /** `targets` gives the addresses of the servers that are there at the moment. */
  constructor(targets: () => readonly string[]) {
    this.#targets = targets
    this.#server = createServer((incoming, answer) => this.#pass(incoming, answer))
  }

  /** Gives its address. */
  async start(): Promise<string> {
    this.#server.listen(0, '127.0.0.1')
    await once(this.#server, 'listening')
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }

  #pass(incoming: IncomingMessage, answer: ServerResponse): void {
    const targets = this.#targets()
    const target = targets[this.#turn++ % targets.length]
    if (target === undefined) return void answer.destroy()
    this.passed.set(target, (this.passed.get(target) ?? 0) + 1)
    const { method, url, headers } = incoming
    const passed = request(new URL(url ?? '/', target), { method, headers, agent: false }, (reply) => {
      answer.writeHead(reply.statusCode ?? 502, reply.headers)
      reply.on('error', () => answer.destroy())
      reply.pipe(answer)
    })
    passed.on('error', () => answer.destroy())
    answer.on('close', () => passed.destroy())
    incoming.pipe(passed)
  }

  async stop(): Promise<void> {
    this.#server.close()
    this.#server.closeAllConnections()
    await once(this.#server, 'close')
  }
}
