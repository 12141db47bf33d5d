// Calls to a running server from commands: its address, the key, and errors in the words of the server.

import { CommandError } from './complaint.ts'

export interface ServerOptions {
  /** Address of the server. */
  readonly url?: string
}

export function serverAddress({ url }: ServerOptions): string {
  return (url ?? process.env.TINKER_BASE_URL ?? 'http://127.0.0.1:8000').replace(/\/+$/, '')
}

/**
 * @param path Below the server's address, or a whole address that the server gave.
 * Throws CommandError when nobody answers, or with what the server says.
 */
export async function callServer(address: string, path: string, init: RequestInit = {}): Promise<Response> {
  const url = /^https?:/.test(path) ? path : `${address}${path}`
  // What the server signed needs no key, and it may stand on another machine.
  const key = url.startsWith(`${address}/api/`) ? { 'x-api-key': process.env.TINKER_API_KEY ?? 'tml-local' } : {}
  let response: Response
  try {
    response = await fetch(url, { ...init, headers: { ...key, ...init.headers } })
  } catch {
    throw new CommandError(`No server answers at ${address}.`, 'Start one with `twinkle serve`, or pass --url.')
  }
  if (response.ok || response.status === 302) return response
  const { detail } = (await response.json().catch(() => ({}))) as { detail?: unknown }
  const next = response.status === 401 ? 'Set TINKER_API_KEY to one of its keys.' : 'Mend that and run it again.'
  throw new CommandError(typeof detail === 'string' ? detail : `${address} answers with ${response.status}.`, next)
}

export async function callJson<T>(address: string, path: string, init?: RequestInit): Promise<T> {
  return (await (await callServer(address, path, init)).json()) as T
}
