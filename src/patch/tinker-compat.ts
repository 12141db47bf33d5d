// Code that was written for the Tinker SDK talks to a Twinkle or twinkle-ts server. The SDK's transport is wrapped, never
// replaced: what it does itself it goes on doing. The wrap is a Proxy around the one place through which every connection
// passes, so it can be taken back.

import { ServiceClient, type ServiceOptions } from '../client/tinker/service-client.ts'
import { transport } from '../client/tinker/transport.ts'
import { type CompatOptions, compatible } from './compat-options.ts'

export interface CompatClientOptions extends Omit<ServiceOptions, keyof CompatOptions>, CompatOptions {
  /** `process`: also clients that other code makes from now on. `client`: the returned one alone. Default: `process`. */
  readonly scope?: 'process' | 'client'
}

const original = transport.connect
/** Of the patch of the process: the latest call decides. Null: there is none. */
let current: CompatOptions | null = null

/**
 * A ServiceClient for a Twinkle server, and with scope `process` (as Twinkle's Python function of this name) the patch of
 * all clients made later: `new ServiceClient()` of unchanged code goes to this server too. Calling it again wraps nothing
 * twice. Addresses and keys that code gives itself are its own.
 *
 * ```ts
 * const service = initTinkerCompatClient({ baseUrl: 'http://127.0.0.1:8000', apiKey: 'EMPTY_TOKEN' })
 * ```
 */
export function initTinkerCompatClient(options: CompatClientOptions = {}): ServiceClient {
  const { scope = 'process', baseUrl, apiKey, ...rest } = options
  const compat: CompatOptions = { ...(baseUrl ? { baseUrl } : {}), ...(apiKey ? { apiKey } : {}) }
  if (scope === 'process') initTinkerClient(compat)
  // What has been made compatible once passes the patch of the process as it is.
  return new ServiceClient(scope === 'process' ? rest : compatible(rest, compat))
}

/** Patches only. Returns what `restore` does. */
export function initTinkerClient(options: CompatOptions = {}): () => void {
  current = options
  if (transport.connect === original) {
    transport.connect = new Proxy(original, {
      apply: (target, self, [given]: Parameters<typeof original>) =>
        Reflect.apply(target, self, [compatible(given, current ?? {})]),
    })
  }
  return restore
}

/** Takes the patch of the process back; without one it does nothing. Clients that were made meanwhile go on as they are. */
export function restore(): void {
  transport.connect = original
  current = null
}
