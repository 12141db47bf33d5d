// The settings of a server as data: for each one its reader, its default and its line of help. Everything else follows
// from the name: `stateDir` is `--state-dir`, TWINKLE_STATE_DIR and `state_dir` in a file. The command line builds its
// flags from this table, so it imports nothing slow.

import { totalmem } from 'node:os'
import { fileURLToPath } from 'node:url'
import type { ModelSource } from '../backends/backend.ts'
import {
  backend,
  bytes,
  type ConfiguredModel,
  database,
  flag,
  folder,
  integer,
  keys,
  models,
  modules,
  oneOf,
  type Reader,
  selection,
  text,
} from './config-values.ts'
import { keep } from './keep-fields.ts'
import { limits } from './limit-fields.ts'
import { NO_LIMITS, type TenantLimits } from './services/limits.ts'
import { DEFAULT_POLICY, type Policy } from './store/policy.ts'

export const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'silent'] as const
export type LogLevel = (typeof LOG_LEVELS)[number]

export interface ServerConfig {
  readonly host: string
  /** 0 = a free one. */
  readonly port: number
  /** Absolute. */
  readonly stateDir: string
  /** Absolute: a folder whose files are data sets by their names, for every tenant; null: there are none. */
  readonly dataDir: string | null
  /** `sqlite`: a file of the state directory; or the address of a PostgreSQL database, with its password. Never shown. */
  readonly database: string
  /** `path` is absolute, or `hf:org/name` until the command line has fetched it. */
  readonly models: readonly ConfiguredModel[]
  /** Of models that name none: a backend's name, or the absolute path of a module. */
  readonly backend: string
  /** Modules that register more backends: absolute paths, or names of packages. */
  readonly backends: readonly string[]
  /** Base models whose engine may run in this server, where servers share a database. */
  readonly engines: readonly string[] | 'all'
  /** A server that is silent for so long loses its engines to another one on the same database. */
  readonly leaseSeconds: number
  /** Compute threads of each engine; 0 = the engine decides. */
  readonly threads: number
  /** `sha256:<64 hex digits>` of each API key. Empty: any key is a tenant of its own. */
  readonly keys: readonly string[]
  /** Of every tenant that has none of its own (`twinkle tenants set`). */
  readonly limits: TenantLimits
  /** How long what is kept. */
  readonly keep: Policy
  /** Most adapters in training that an engine has at a time; the others wait on disk. */
  readonly liveAdapters: number
  /** Bytes of them, each engine's. */
  readonly adapterMemory: number
  /** True lets a server without keys listen beyond this machine. */
  readonly open: boolean
  /** How long retrieve_future waits for a result before it says "not yet". */
  readonly holdSeconds: number
  /** A session without heartbeats for this long is over. */
  readonly sessionTimeoutSeconds: number
  /** Largest request body, as sent and as decoded. */
  readonly bodyLimitBytes: number
  /** Largest sum of request bodies that are being worked on. */
  readonly bytesInFlight: number
  readonly logLevel: LogLevel
  /** Which logprobs a sampled token gets at temperature != 1: of the tempered distribution, or of the model's own. */
  readonly sampledLogprobs: 'tempered' | 'raw'
}

export type Setting = keyof ServerConfig

export interface Field<T> {
  readonly read: Reader<T>
  readonly fallback: T
  readonly help: string
  /** How the flag shows its value in help; absent: a switch without value; null: no flag (keys would show in `ps`). */
  readonly placeholder?: string | null
  /** Its flag's name, where that is not the setting's. */
  readonly flag?: string
  /** It holds secrets: what a refusal says in the place of the value. */
  readonly secret?: string
}

/** The model that comes with the package, so that `twinkle serve` needs nothing else. */
export const EMBEDDED_MODEL: ModelSource = {
  name: 'twinkle/tiny',
  path: fileURLToPath(new URL('../../models/tiny', import.meta.url)).replace(/[\\/]$/, ''),
}

export const BUILT_IN_BACKENDS = ['transformers'] as const

export const FIELDS: { readonly [K in Setting]: Field<ServerConfig[K]> } = {
  host: { read: text, fallback: '127.0.0.1', placeholder: 'ADDRESS', help: 'address to listen on' },
  port: { read: integer(0, 65_535), fallback: 8000, placeholder: 'N', help: 'port to listen on; 0 picks a free one' },
  stateDir: {
    read: folder,
    fallback: '.twinkle',
    placeholder: 'DIR',
    help: 'where runs, checkpoints and the journal are kept',
  },
  dataDir: {
    read: folder,
    fallback: null,
    placeholder: 'DIR',
    help: 'files (JSON lines, JSON, CSV) that every tenant may load data sets from by name',
  },
  database: {
    read: database,
    fallback: 'sqlite',
    placeholder: 'URL',
    secret: 'this address',
    help: 'where the journal is kept: sqlite (in the state folder) or postgres://user:password@host/name',
  },
  models: {
    read: models,
    fallback: [EMBEDDED_MODEL],
    flag: 'model',
    placeholder: 'NAME=REF',
    help: 'one more base model: a Hugging Face folder, a .gguf file or hf:org/name (repeatable)',
  },
  backend: {
    read: backend,
    fallback: 'transformers',
    placeholder: 'NAME',
    help: `what computes: ${BUILT_IN_BACKENDS.join(', ')}, one of --backends, or the path of a module`,
  },
  backends: {
    read: modules,
    fallback: [],
    placeholder: 'MODULES',
    help: 'modules that register more backends: paths, or names of packages',
  },
  engines: {
    read: selection,
    fallback: 'all',
    placeholder: 'NAMES',
    help: 'base models whose engine may run here, where servers share a database: all, none or names',
  },
  leaseSeconds: {
    read: integer(2, 600),
    fallback: 10,
    placeholder: 'S',
    help: 'a server on a shared database that is silent for so long loses its engines to another one',
  },
  threads: { read: integer(0, 1024), fallback: 0, placeholder: 'N', help: 'compute threads; 0 lets the engine decide' },
  keys: { read: keys, fallback: [], placeholder: null, secret: 'a key', help: 'API keys, plain or as sha256:<hex>' },
  limits: { read: limits, fallback: NO_LIMITS, placeholder: null, help: 'limits of every tenant, by name' },
  keep: { read: keep, fallback: DEFAULT_POLICY, placeholder: null, help: 'how long what is kept, by name' },
  liveAdapters: {
    read: integer(1),
    fallback: 1000,
    placeholder: 'N',
    help: 'adapters in training that an engine has at a time; the others wait on disk',
  },
  adapterMemory: {
    read: bytes(2 ** 20),
    fallback: Math.floor(totalmem() / 4),
    placeholder: 'BYTES',
    help: 'memory for those adapters, of each engine (default: a quarter of this machine)',
  },
  open: { read: flag, fallback: false, help: 'listen beyond this machine although no keys are set' },
  holdSeconds: {
    read: integer(1, 44),
    fallback: 30,
    placeholder: 'S',
    help: 'how long a poll for a result may wait (clients give up at 45)',
  },
  sessionTimeoutSeconds: {
    read: integer(30),
    fallback: 300,
    placeholder: 'S',
    help: 'a session that is silent for this long is over',
  },
  bodyLimitBytes: {
    read: bytes(1024),
    fallback: 64 * 2 ** 20,
    placeholder: 'BYTES',
    help: 'largest request body (64MiB)',
  },
  bytesInFlight: {
    read: bytes(1024),
    fallback: 512 * 2 ** 20,
    placeholder: 'BYTES',
    help: 'largest sum of request bodies being worked on (512MiB)',
  },
  logLevel: { read: oneOf(LOG_LEVELS), fallback: 'info', placeholder: 'LEVEL', help: LOG_LEVELS.join(', ') },
  sampledLogprobs: {
    read: oneOf(['tempered', 'raw'] as const),
    fallback: 'tempered',
    placeholder: 'KIND',
    help: 'logprobs of sampled tokens: tempered or raw',
  },
}

export const SETTINGS = Object.keys(FIELDS) as Setting[]

/** `stateDir` -> `--state-dir`; null where there is no flag. */
export function flagOf(setting: Setting): string | null {
  const field: Field<unknown> = FIELDS[setting]
  return field.placeholder === null ? null : `--${field.flag ?? snake(setting).replaceAll('_', '-')}`
}

/** `stateDir` -> `TWINKLE_STATE_DIR`. */
export function variableOf(setting: Setting): string {
  return `TWINKLE_${snake(setting).toUpperCase()}`
}

/** `stateDir` -> `state_dir`, the key in a configuration file. */
export function fileKeyOf(setting: Setting): string {
  return snake(setting)
}

function snake(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)
}
