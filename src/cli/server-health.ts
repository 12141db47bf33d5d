// `twinkle doctor --url`: what a running server says is wrong with it, as the doctor's own findings are shown.

import type { Schemas } from '../generated/operations.ts'
import type { Check } from './doctor.ts'
import { callServer } from './server-call.ts'

/** Throws CommandError when nobody answers there. */
export async function serverHealth(address: string): Promise<Check[]> {
  const answer = await callServer(address, '/health', {}, [503])
  const { status, problems } = (await answer.json()) as Schemas['Health']
  if (status === 'ok') return [{ name: address, status: 'ok', found: 'takes work and carries it out' }]
  return problems.map(({ code, message, next }) => ({
    name: code,
    status: status === 'failing' ? 'missing' : 'note',
    found: message,
    next,
  }))
}
