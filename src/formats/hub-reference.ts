/**
 * What `hf:org/name` means and which hub, folder and token this machine uses for it, by the environment variables that
 * Hugging Face's own tools read. Knows words and paths; asks no network.
 */
import * as fs from 'node:fs'
import * as os from 'node:os'
import * as path from 'node:path'

/** Something about a hub that the user can act on. */
export class HubError extends Error {
  override readonly name = 'HubError'
}

export interface HubReference {
  /** "org/name". */
  readonly repository: string
  /** Branch, tag or commit. */
  readonly revision: string
  /** A .gguf file of the repository; absent for its safetensors. */
  readonly file?: string
}

const REFERENCE = /^hf:([\w.-]+\/[\w.-]+)(?:@([\w.-]+))?(?:\/(.+))?$/

/** Reads `hf:org/name`, `hf:org/name/FILE.gguf`, each with an optional `@revision` after the name. Throws HubError. */
export function parseHubReference(text: string): HubReference {
  const [, repository, revision = 'main', file] = REFERENCE.exec(text) ?? []
  const forms = 'the form is hf:org/name, hf:org/name@revision or hf:org/name/FILE.gguf'
  if (!repository || repository.split('/').some(isDots)) throw new HubError(`"${text}" names no model; ${forms}`)
  if (file === undefined) return { repository, revision }
  if (!/^[\w./-]+\.gguf$/.test(file) || file.split('/').some((part) => part === '' || isDots(part))) {
    throw new HubError(`"${text}" names a file other than a .gguf; ${forms}`)
  }
  return { repository, revision, file }
}

export interface HubSettings {
  /** Without a slash at the end. */
  readonly endpoint: string
  /** Where models are kept, shared with Hugging Face's own tools. */
  readonly cacheFolder: string
  readonly token: string | undefined
  /** Use what is there, ask nobody. */
  readonly offline: boolean
}

/** HF_ENDPOINT, HF_HUB_CACHE or HF_HOME, HF_TOKEN or the token file, HF_HUB_OFFLINE. */
export function hubSettings(env: NodeJS.ProcessEnv = process.env): HubSettings {
  const cacheRoot = env.XDG_CACHE_HOME || path.join(os.homedir(), '.cache')
  const home = env.HF_HOME || path.join(cacheRoot, 'huggingface')
  return {
    endpoint: (env.HF_ENDPOINT || 'https://huggingface.co').replace(/\/+$/, ''),
    cacheFolder: env.HF_HUB_CACHE || path.join(home, 'hub'),
    token: env.HF_TOKEN?.trim() || readToken(env.HF_TOKEN_PATH || path.join(home, 'token')),
    offline: /^(1|on|yes|true)$/i.test(env.HF_HUB_OFFLINE ?? ''),
  }
}

function readToken(file: string): string | undefined {
  return fs.existsSync(file) ? fs.readFileSync(file, 'utf8').trim() || undefined : undefined
}

function isDots(part: string): boolean {
  return part === '.' || part === '..'
}
