// `twinkle serve`: configuration, models, server, ready block, and an orderly end. What a server does is not known here.

import { loadConfig, type ServerConfig } from '../server/config.ts'
import { SETTINGS, type Setting } from '../server/config-fields.ts'
import { type ConfiguredModel, shownDatabase } from '../server/config-values.ts'
import { MANIFEST } from '../server/manifest.ts'
import { CommandError } from './complaint.ts'
import { createLog } from './log.ts'
import { portComplaint, portProblem } from './port.ts'
import { readyBlock } from './ready.ts'

export type ServeFlags = { readonly [K in Setting]?: unknown } & { readonly config?: string }

export async function serve(flags: ServeFlags): Promise<void> {
  const { config: file, ...settings } = flags
  const loaded = await loadConfig({ flags: settings, env: process.env, ...(file === undefined ? {} : { file }) })
  const stopped = stopSignal()
  const log = createLog(loaded.config.logLevel)
  for (const setting of SETTINGS) {
    const source = loaded.sources[setting]
    if (source !== 'default') log.info(`${setting} = ${shown(loaded.config, setting)} (${source})`)
  }
  for (const note of loaded.notes) log.warn(note)
  await checkPort(loaded.config)
  const config = { ...loaded.config, models: await fetched(loaded.config) }

  const { startServer } = await import('../server/server.ts')
  const server = await startServer(config, log)
  const models = config.models.map(({ name }) => name)
  const facts = { url: server.url, models, stateDir: config.stateDir, hasKeys: !server.isOpen }
  process.stdout.write(`${readyBlock({ ...facts, version: MANIFEST.version })}\n`)

  log.info(`${await stopped}: finishing what is under way`)
  await server.close()
}

function shown(config: ServerConfig, setting: Setting): string {
  if (setting === 'keys') return `${config.keys.length} hashed`
  if (setting === 'database') return shownDatabase(config.database)
  if (setting === 'models') return config.models.map(({ name, path }) => `${name}=${path}`).join(' ')
  if (setting === 'limits') return JSON.stringify(config.limits)
  return String(config[setting])
}

async function checkPort({ host, port }: ServerConfig): Promise<void> {
  const code = await portProblem(host, port)
  if (code === null) return
  const { message, next } = portComplaint(host, port, code)
  throw new CommandError(message, next)
}

/** Models with `hf:` references replaced by folders of this machine. */
async function fetched(config: ServerConfig): Promise<ConfiguredModel[]> {
  const models: ConfiguredModel[] = []
  for (const model of config.models) {
    if (!model.path.startsWith('hf:')) {
      models.push(model)
      continue
    }
    const { fetchHubModel } = await import('./hub-model.ts')
    models.push({ ...model, path: await fetchHubModel(model.path) })
  }
  return models
}

/** Resolves with the first signal's name; a second one ends the process at once. */
function stopSignal(): Promise<string> {
  return new Promise((resolve) => {
    let isFirst = true
    const onSignal = (name: string): void => {
      if (!isFirst) process.exit(130)
      isFirst = false
      resolve(name)
    }
    process.on('SIGTERM', onSignal)
    process.on('SIGINT', onSignal)
  })
}
