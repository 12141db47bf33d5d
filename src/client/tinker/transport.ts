// What stands between every client of this SDK and its server. A patch may put others in its places, for the process.

import type { ConnectionOptions } from './connection.ts'
import type { Fetch } from './http.ts'

export interface Transport {
  /** Told of every connection before it is made: where to, with which key, through which fetch. */
  connect(options: ConnectionOptions): ConnectionOptions
  /** Of connections that were given none of their own. */
  readonly fetch: Fetch
}

export const transport: { -readonly [K in keyof Transport]: Transport[K] } = {
  connect: (options) => options,
  fetch: (url, init) => globalThis.fetch(url, init),
}
