// `twinkle adapters share`: a token that opens one checkpoint of yours to others, for a while.

import { CommandError } from './complaint.ts'
import { duration } from './duration.ts'
import { callJson, type ServerOptions, serverAddress } from './server-call.ts'

export interface ShareOptions extends ServerOptions {
  readonly for: string
  readonly json?: boolean
}

interface Shared {
  readonly token: string
  readonly expires: string
}

export async function shareAdapter(path: string, options: ShareOptions): Promise<void> {
  const [, run, kind, name] = /^tinker:\/\/([^/]+)\/([^/]+)\/([^/]+)$/.exec(path) ?? []
  if (!run || !kind || !name) {
    throw new CommandError(`${path} is not a checkpoint path.`, 'Give one of the form tinker://RUN/KIND/NAME.')
  }
  const ttl_seconds = Math.round(duration(options.for, '--for') / 1000)
  const route = ['training_runs', run, 'checkpoints', kind, name, 'access_token'].map(encodeURIComponent).join('/')
  const shared = await callJson<Shared>(serverAddress(options), `/api/v1/${route}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ ttl_seconds }),
  })
  process.stderr.write(options.json ? '' : `Whoever holds this can load ${path} until ${shared.expires}:\n`)
  process.stdout.write(`${options.json ? JSON.stringify(shared) : shared.token}\n`)
}
