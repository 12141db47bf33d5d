// Puts a server's configuration together: flag before environment before file before default, with the source of each
// value. Refuses what it does not know, by name. Twinkle's own form of server_config.yaml is twinkle-config.ts's; it reads no model and
// opens no port. The settings themselves are data in `config-fields.ts`.

import { readFileSync } from 'node:fs'
import { isIP } from 'node:net'
import { dirname, isAbsolute, resolve } from 'node:path'
import {
  BUILT_IN_BACKENDS,
  FIELDS,
  type Field,
  fileKeyOf,
  flagOf,
  SETTINGS,
  type ServerConfig,
  type Setting,
  variableOf,
} from './config-fields.ts'
import { ConfigError, type ConfiguredModel, ExpectedError, isMapping } from './config-values.ts'
import { withPackages } from './missing-package.ts'
import { didYouMean } from './nearest.ts'
import { fromTwinkleForm, TWINKLE_KEYS } from './twinkle-config.ts'

export type { LogLevel, ServerConfig } from './config-fields.ts'
export { ConfigError } from './config-values.ts'

export interface ConfigInput {
  /** By setting name; undefined = not given. `models` are NAME=REF texts and add to the other models. */
  readonly flags?: { readonly [K in Setting]?: unknown }
  readonly env?: Readonly<Record<string, string | undefined>>
  /** Path of a YAML file. */
  readonly file?: string
  /** What relative paths of flags and variables start from. */
  readonly cwd?: string
}

export interface LoadedConfig {
  readonly config: ServerConfig
  /** Where each value came from, in words: `--port`, `TWINKLE_PORT`, `twinkle.yaml`, `default`. */
  readonly sources: Readonly<Record<Setting, string>>
  /** What is otherwise than a file in Twinkle's own form says, in sentences. */
  readonly notes: readonly string[]
}

/** One given value before it is read. */
interface Given {
  readonly value: unknown
  /** How the user knows it: `--port`, `TWINKLE_PORT`, `port in twinkle.yaml`. */
  readonly name: string
  readonly source: string
  readonly base: string
}

/** Throws ConfigError for a value, key or combination that cannot be used. */
export async function loadConfig(input: ConfigInput = {}): Promise<LoadedConfig> {
  const cwd = input.cwd ?? process.cwd()
  const { values: file, notes } =
    input.file === undefined ? NO_FILE : await readFile(resolve(cwd, input.file), input.file)
  const values: Partial<Record<Setting, unknown>> = {}
  const sources: Partial<Record<Setting, string>> = {}
  for (const setting of SETTINGS) {
    const given = givenFor(setting, input, file, cwd)
    values[setting] = resolved(setting, given, cwd)
    sources[setting] = given?.source ?? 'default'
  }
  const added = input.flags?.models
  if (added !== undefined) {
    const more = read('models', { value: added, name: '--model', source: '--model', base: cwd }) as ConfiguredModel[]
    values.models = merged(values.models as readonly ConfiguredModel[], more)
    sources.models = sources.models === 'default' ? '--model' : `${sources.models} and --model`
  }
  const config = values as unknown as ServerConfig
  checkModels(config)
  checkEngines(config)
  checkBackends(config)
  return { config, sources: sources as Record<Setting, string>, notes }
}

function givenFor(setting: Setting, input: ConfigInput, file: FileValues, cwd: string): Given | undefined {
  const flagged = setting === 'models' ? undefined : input.flags?.[setting]
  const flag = flagOf(setting)
  if (flagged !== undefined && flag !== null) return { value: flagged, name: flag, source: flag, base: cwd }
  const variable = variableOf(setting)
  const value = input.env?.[variable]
  if (value !== undefined && value !== '') return { value, name: variable, source: variable, base: cwd }
  return file[setting]
}

function resolved(setting: Setting, given: Given | undefined, cwd: string): unknown {
  if (given) return read(setting, given)
  const fallback = FIELDS[setting].fallback
  return setting === 'stateDir' ? resolve(cwd, String(fallback)) : fallback
}

function read(setting: Setting, given: Given): unknown {
  const field: Field<unknown> = FIELDS[setting]
  try {
    return field.read(given.value, { base: given.base })
  } catch (error) {
    if (!(error instanceof ExpectedError)) throw error
    const shown = field.secret ?? JSON.stringify(given.value)
    throw new ConfigError(`${given.name} cannot be ${shown}.`, `Give ${error.message}.`)
  }
}

type FileValues = { readonly [K in Setting]?: Given }

interface FileContent {
  readonly values: FileValues
  readonly notes: readonly string[]
}
const NO_FILE: FileContent = { values: {}, notes: [] }

async function readFile(path: string, shown: string): Promise<FileContent> {
  const content = await parseFile(path, shown)
  if (!TWINKLE_KEYS.some((key) => key in content)) return { values: valuesOf(content, path, shown), notes: [] }
  const { settings, notes } = fromTwinkleForm(content, shown)
  return { values: valuesOf(settings, path, shown), notes }
}

function valuesOf(content: Readonly<Record<string, unknown>>, path: string, shown: string): FileValues {
  const known = new Map(SETTINGS.map((setting) => [fileKeyOf(setting), setting]))
  const values: { [K in Setting]?: Given } = {}
  for (const [key, value] of Object.entries(content)) {
    const setting = known.get(key)
    if (setting === undefined) {
      const names = [...known.keys()]
      throw new ConfigError(
        `${shown} has the unknown key \`${key}\`${didYouMean(key, names)}.`,
        `The keys are ${names.join(', ')}.`,
      )
    }
    values[setting] = { value, name: `${key} in ${shown}`, source: shown, base: dirname(path) }
  }
  return values
}

async function parseFile(path: string, shown: string): Promise<Record<string, unknown>> {
  const source = readText(path, shown)
  const { parse } = await withPackages(() => import('yaml'))
  let content: unknown
  try {
    content = parse(source)
  } catch (error) {
    const [line] = (error as Error).message.split('\n')
    throw new ConfigError(`${shown} is not valid YAML: ${line}`, 'Mend that line.')
  }
  if (content === null || content === undefined) return {}
  if (isMapping(content)) return content
  throw new ConfigError(`${shown} holds no settings.`, 'Write one `key: value` a line, such as `port: 8000`.')
}

function readText(path: string, shown: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    const reason = (error as NodeJS.ErrnoException).code === 'ENOENT' ? 'does not exist' : 'cannot be read'
    throw new ConfigError(`The configuration file ${shown} ${reason}.`, 'Check the path behind --config.')
  }
}

/** Later models win over earlier ones of the same name. */
function merged(base: readonly ConfiguredModel[], more: readonly ConfiguredModel[]): readonly ConfiguredModel[] {
  return [...new Map([...base, ...more].map((model) => [model.name, model])).values()]
}

function checkModels({ models }: ServerConfig): void {
  if (models.length > 0) return
  throw new ConfigError(
    'No models are configured.',
    'Name one under models, or leave the key out to serve twinkle/tiny.',
  )
}

function checkEngines({ engines, database, models }: ServerConfig): void {
  if (engines === 'all') return
  if (database === 'sqlite') {
    throw new ConfigError(
      'No other server could have the engines that this one leaves out: its database is a file of its own.',
      'Leave engines at all, or give all servers one database: postgres://user:password@host/name.',
    )
  }
  const names = models.map(({ name }) => name)
  const unknown = engines.find((name) => !names.includes(name))
  if (unknown === undefined) return
  throw new ConfigError(
    `There is no base model ${unknown} to have an engine for${didYouMean(unknown, names)}.`,
    `Name some of ${names.join(', ')}; or all, or none.`,
  )
}

/** What modules register is known only when they have been loaded. */
function checkBackends({ backend, backends, models }: ServerConfig): void {
  if (backends.length > 0) return
  const builtIn: readonly string[] = BUILT_IN_BACKENDS
  const named = [backend, ...models.flatMap((model) => model.backend ?? [])]
  const unknown = named.find((name) => !isAbsolute(name) && !builtIn.includes(name))
  if (unknown === undefined) return
  throw new ConfigError(
    `There is no backend ${unknown}${didYouMean(unknown, builtIn)}.`,
    `Use ${builtIn.join(', ')}, the path of a module such as ./my-backend.mjs, or list modules under backends.`,
  )
}

/** Throws ConfigError for a server that strangers could use without a key. `isOpen`: any key is welcome. */
export function checkReach({ host, open }: Pick<ServerConfig, 'host' | 'open'>, isOpen: boolean): void {
  if (open || !isOpen || isLoopback(host)) return
  throw new ConfigError(
    `Host ${host} can be reached from other machines, and there are no keys.`,
    'Make one with `twinkle keys create --tenant NAME`, or set TWINKLE_KEYS; or say --open if everyone may use it.',
  )
}

/** True for addresses that only this machine can reach. */
export function isLoopback(host: string): boolean {
  if (host === 'localhost' || host === '::1') return true
  return isIP(host) === 4 && host.startsWith('127.')
}
