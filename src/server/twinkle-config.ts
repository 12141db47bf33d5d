// Twinkle's own form of server_config.yaml (`applications:`) and the words of its first edition, as settings of this server.
// Keys that have no counterpart here are accepted and told of once; keys that nobody knows are refused by their path, and so
// are values that contradict each other. Knows shapes and names; reads no file.

import { EMBEDDED_MODEL } from './config-fields.ts'
import { ConfigError, isMapping } from './config-values.ts'
import { didYouMean } from './nearest.ts'

type Mapping = Readonly<Record<string, unknown>>

export interface Translated {
  /** Keys and values of the short form. */
  readonly settings: Mapping
  /** What is otherwise here than the file says, in sentences. */
  readonly notes: readonly string[]
}

export const TWINKLE_KEYS = [
  ...['applications', 'server_type', 'use_megatron', 'ray_namespace', 'proxy_location', 'http_options'],
  ...['telemetry', 'persistence', 'task_queue'],
]

/** By `import_path`: the keys of `args`. */
const ARGS: Readonly<Record<string, readonly string[]>> = {
  server: ['server_config', 'supported_models', 'http_options', 'route_prefix'],
  model: [
    ...['model_id', 'backend', 'use_megatron', 'train_mode', 'nproc_per_node', 'device_group', 'device_mesh'],
    ...['adapter_config', 'queue_config', 'max_loras', 'max_length'],
  ],
  sampler: [
    ...['model_id', 'sampler_type', 'nproc_per_node', 'engine_args', 'device_group', 'device_mesh'],
    ...['queue_config', 'adapter_config'],
  ],
  processor: ['ncpu_proc_per_node', 'nproc_per_node', 'device_group', 'device_mesh', 'queue_config'],
}
const APPLICATION = ['name', 'route_prefix', 'import_path', 'args', 'deployments']
const SERVER_CONFIG = [
  ...['expiration_timeout', 'cleanup_interval', 'per_token_model_limit', 'metrics_update_interval', 'actor_name'],
]
/** The whole of these has no counterpart: devices are the engine's to find, and so is how work is queued. */
const IDLE = [
  ...[
    'nproc_per_node',
    'ncpu_proc_per_node',
    'device_group',
    'device_mesh',
    'adapter_config',
    'queue_config',
    'max_loras',
  ],
  ...['max_length', 'engine_args', 'sampler_type', 'http_options', 'route_prefix', 'supported_models'],
]

/** Throws ConfigError with the path of the key. */
export function fromTwinkleForm(content: Mapping, shown: string): Translated {
  checkKeys(content, TWINKLE_KEYS, shown)
  checkPlain(content, '', shown)
  const type = content.server_type ?? 'twinkle'
  if (type !== 'twinkle' && type !== 'tinker') throw wrong('server_type', type, 'twinkle or tinker', shown)
  if (content.use_megatron === true) throw wrong('use_megatron', true, 'false: there is no such backend', shown)
  const idle = ['ray_namespace', 'proxy_location', 'telemetry', 'task_queue'].filter((k) => k in content)
  const applications = list(content.applications ?? [], 'applications', shown)
  const parts = applications.map((entry, i) => application(entry, `applications[${i}]`, content, shown))
  const settings = Object.assign({}, ...parts.map((part) => part.settings), httpOf(content.http_options, shown))
  const models = Object.assign({}, ...parts.map((part) => part.models))
  checkPersistence(content.persistence, shown)
  if ('persistence' in content) idle.push('persistence')
  const paths = [...idle, ...parts.flatMap((part) => part.idle)]
  return {
    settings: { ...settings, ...(Object.keys(models).length > 0 && { models }) },
    notes: [
      ...(paths.length > 0 ? [`No effect here: ${paths.join(', ')}.`] : []),
      ...('server_type' in content ? ['Both protocols are served, whatever server_type says.'] : []),
      ...parts
        .flatMap(({ models: of }) => Object.values(of))
        .filter(isFetched)
        .map(fetchedNote),
    ],
  }
}

const isFetched = (path: unknown): path is string => typeof path === 'string' && path.startsWith('hf:')
const fetchedNote = (path: string) =>
  `${path.slice('hf:'.length)} comes from the Hugging Face hub, whatever hub its id names.`

function application(entry: unknown, at: string, content: Mapping, shown: string) {
  const app = mapping(entry, at, shown)
  checkKeys(app, APPLICATION, shown, at)
  const kind = app.import_path
  const known = Object.keys(ARGS)
  if (typeof kind !== 'string' || !known.includes(kind)) throw wrong(`${at}.import_path`, kind, known.join(', '), shown)
  const args = mapping(app.args ?? {}, `${at}.args`, shown)
  checkKeys(args, ARGS[kind] as readonly string[], shown, `${at}.args`)
  const idle = [...('deployments' in app ? [`${at}.deployments`] : []), ...idleOf(args, `${at}.args`)]
  if (kind === 'server') return { settings: serverSettings(args.server_config, `${at}.args`, shown), models: {}, idle }
  return { settings: {}, models: kind === 'model' ? modelOf(args, `${at}.args`, content, shown) : {}, idle }
}

const idleOf = (args: Mapping, at: string) => IDLE.filter((key) => key in args).map((key) => `${at}.${key}`)

function serverSettings(given: unknown, at: string, shown: string): Mapping {
  const config = mapping(given ?? {}, `${at}.server_config`, shown)
  checkKeys(config, SERVER_CONFIG, shown, `${at}.server_config`)
  const { expiration_timeout: seconds, per_token_model_limit: adapters } = config
  return {
    ...(seconds !== undefined && { session_timeout_seconds: seconds }),
    ...(adapters !== undefined && { limits: { adapters } }),
  }
}

/** `use_megatron` is the first edition's word for `backend`; saying it beside another one that differs is a contradiction. */
function modelOf(args: Mapping, at: string, content: Mapping, shown: string): Mapping {
  const { model_id: id, backend, train_mode: mode = 'lora' } = args
  if (typeof id !== 'string' || id === '') throw wrong(`${at}.model_id`, id, 'a model', shown)
  const megatron = args.use_megatron ?? content.use_megatron
  if (megatron !== undefined && typeof megatron !== 'boolean')
    throw wrong(`${at}.use_megatron`, megatron, 'true or false', shown)
  const seed = megatron === undefined ? undefined : megatron ? 'megatron' : 'transformers'
  if (seed !== undefined && backend !== undefined && backend !== seed) {
    throw new ConfigError(
      `${at} in ${shown} has use_megatron: ${megatron} and backend: ${backend}.`,
      'Leave one of them out.',
    )
  }
  const named = backend ?? seed ?? 'transformers'
  if (named !== 'transformers') throw wrong(`${at}.backend`, named, 'transformers', shown)
  if (mode !== 'lora') throw wrong(`${at}.train_mode`, mode, 'lora', shown)
  if (/^\.{0,2}\//.test(id)) return { [id.split('/').filter(Boolean).at(-1) ?? id]: id }
  const name = id.replace(/^\w+:\/\//, '')
  return { [name]: name === EMBEDDED_MODEL.name ? EMBEDDED_MODEL.path : `hf:${name}` }
}

/** Nothing is put into values here: what asks for it is refused instead of taken for text. */
function checkPlain(value: unknown, at: string, shown: string): void {
  if (typeof value === 'string' && value.includes('${')) throw wrong(at, value, 'the value itself', shown)
  if (typeof value !== 'object' || value === null) return
  for (const [key, inner] of Object.entries(value)) checkPlain(inner, at === '' ? key : `${at}.${key}`, shown)
}

function httpOf(given: unknown, shown: string): Mapping {
  const options = mapping(given ?? {}, 'http_options', shown)
  checkKeys(options, ['host', 'port'], shown, 'http_options')
  const { host, port } = options
  return { ...(host !== undefined && { host }), ...(port !== undefined && { port }) }
}

/** What is acknowledged is always on the disk; there is no way to keep it elsewhere. */
function checkPersistence(given: unknown, shown: string): void {
  const persistence = mapping(given ?? {}, 'persistence', shown)
  checkKeys(persistence, ['mode', 'file_path', 'redis_url', 'key_prefix'], shown, 'persistence')
  const { mode = 'file' } = persistence
  if (mode !== 'file' && mode !== 'memory')
    throw wrong('persistence.mode', mode, 'file (or memory, which is kept as well)', shown)
}

function checkKeys(given: Mapping, known: readonly string[], shown: string, at?: string): void {
  const key = Object.keys(given).find((one) => !known.includes(one))
  if (key === undefined) return
  const path = at === undefined ? key : `${at}.${key}`
  throw new ConfigError(
    `${shown} has the unknown key \`${path}\`${didYouMean(key, known)}.`,
    `There ${known.join(', ')} may stand.`,
  )
}

function mapping(given: unknown, at: string, shown: string): Mapping {
  if (isMapping(given)) return given
  throw wrong(at, given, 'keys and values', shown)
}

function list(given: unknown, at: string, shown: string): readonly unknown[] {
  if (Array.isArray(given)) return given
  throw wrong(at, given, 'a list', shown)
}

const wrong = (path: string, value: unknown, wanted: string, shown: string) =>
  new ConfigError(`${path} in ${shown} cannot be ${JSON.stringify(value) ?? 'nothing'}.`, `Give ${wanted}.`)
