// What a connection is made of once it goes to a Twinkle server: where to, with which key, and a fetch behind a Proxy that
// says and translates what such servers want. Knows options; knows nothing of when they are used.

import type { ConnectionOptions } from '../client/tinker/connection.ts'
import { variable } from '../client/tinker/environment.ts'
import type { Fetch } from '../client/tinker/http.ts'
import { transport } from '../client/tinker/transport.ts'
import { identityHeaders } from './identity.ts'
import { OlderServers } from './older-servers.ts'

export interface CompatOptions {
  /** Default: TWINKLE_SERVER_URL, then what the SDK takes. `host:8000` and an `/api/v1` at the end will do. */
  readonly baseUrl?: string
  /** Any key. Default: TWINKLE_SERVER_TOKEN, then what the SDK takes, then EMPTY_TOKEN. */
  readonly apiKey?: string
}

const DEFAULT_KEY = 'EMPTY_TOKEN'
/** Passes the SDK's check of a key's form; it is never sent. */
const PLACEHOLDER = 'tml-placeholder'

/** Fetches that translate already: what is compatible stays as it is. */
const understanding = new WeakSet<Fetch>()

/** `given` are those of the code that is patched: what it says itself, it gets. */
export function compatible(given: ConnectionOptions, { baseUrl, apiKey }: CompatOptions): ConnectionOptions {
  if (given.fetch && understanding.has(given.fetch)) return given
  const address = given.baseUrl || baseUrl || variable('TWINKLE_SERVER_URL')
  const key = given.apiKey || apiKey || variable('TWINKLE_SERVER_TOKEN') || variable('TINKER_API_KEY') || DEFAULT_KEY
  const isAccepted = key.startsWith('tml-') || key.startsWith('eyJ')
  const send: Fetch = given.fetch ?? ((url, init) => transport.fetch(url, init))
  return {
    ...given,
    ...(address ? { baseUrl: serverAddress(address) } : {}),
    apiKey: isAccepted ? key : PLACEHOLDER,
    headers: { ...identityHeaders(key), ...(isAccepted ? {} : { 'x-api-key': key }), ...given.headers },
    fetch: understood(send),
  }
}

/** The address that the SDK puts its `/api/v1/...` behind. */
export function serverAddress(baseUrl: string): string {
  const address = /^[a-z][a-z0-9+.-]*:\/\//i.test(baseUrl) ? baseUrl : `http://${baseUrl}`
  return address
    .replace(/\/+$/, '')
    .replace(/\/api\/v1$/, '')
    .replace(/\/+$/, '')
}

function understood(send: Fetch): Fetch {
  const older = new OlderServers()
  const proxy = new Proxy(send, {
    apply: (target, self, [url, init]: Parameters<Fetch>) =>
      older.exchange((u, i) => Reflect.apply(target, self, [u, i]), url, init),
  })
  understanding.add(proxy)
  return proxy
}
