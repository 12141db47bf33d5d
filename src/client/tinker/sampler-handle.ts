// A sampler as text, to be passed to another process and opened there, in TypeScript or in Python: the form is the Python
// SDK's. It carries the server's address and flags, and no key.

import type { ClientConfig, DynamicConfig } from './connection.ts'
import { TinkerError } from './errors.ts'

export interface SamplerHandle {
  readonly session_id: string
  readonly sampling_session_id: string
  readonly base_model: string
  readonly record_stability_info: boolean
  readonly holder: {
    readonly base_url: string
    readonly default_headers_overrides: Readonly<Record<string, string>>
    readonly client_config: ClientConfig
    readonly client_dynamic_config: DynamicConfig
    readonly api_key: null
  }
}

export function encodeHandle(handle: SamplerHandle): string {
  const bytes = new TextEncoder().encode(JSON.stringify(handle))
  const text = btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(''))
  return text.replaceAll('+', '-').replaceAll('/', '_')
}

/** Throws TinkerError for text that is none. */
export function decodeHandle(text: string): SamplerHandle {
  try {
    const bytes = atob(text.replaceAll('-', '+').replaceAll('_', '/'))
    const json = new TextDecoder().decode(Uint8Array.from(bytes, (char) => char.charCodeAt(0)))
    const handle = JSON.parse(json) as SamplerHandle
    if (typeof handle.sampling_session_id === 'string' && typeof handle.holder.base_url === 'string') return handle
  } catch {
    // What is no base64 or no JSON is no handle either.
  }
  throw new TinkerError('This text is no sampler handle. Next: take it from getSamplerHandle(), whole.')
}
