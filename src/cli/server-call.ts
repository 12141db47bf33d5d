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
 * `accepted`: statuses beside those of success that are an answer.
 * Throws CommandError when nobody answers, or with what the server says.
 */
export async function callServer(
  address: string,
  path: string,
  init: RequestInit = {},
  accepted: readonly number[] = [302],
): Promise<Response> {
  const url = /^https?:/.test(path) ? path : `${address}${path}`
  // What the server signed needs no key, and it may stand on another machine.
  const key =
    url.startsWith(`${address}/`) && !url.includes('signature=')
      ? { 'x-api-key': process.env.TINKER_API_KEY ?? 'tml-local' }
      : {}
  let response: Response
  try {
    response = await fetch(url, { ...init, headers: { ...key, ...init.headers } })
  } catch {
    throw new CommandError(`No server answers at ${address}.`, 'Start one with `twinkle serve`, or pass --url.')
  }
  if (response.ok || accepted.includes(response.status)) return response
  const { detail } = (await response.json().catch(() => ({}))) as { detail?: unknown }
  const next = response.status === 401 ? 'Set TINKER_API_KEY to one of its keys.' : 'Mend that and run it again.'
  throw new CommandError(typeof detail === 'string' ? detail : `${address} answers with ${response.status}.`, next)
}

export async function callJson<T>(address: string, path: string, init?: RequestInit): Promise<T> {
  return (await (await callServer(address, path, init)).json()) as T
}
