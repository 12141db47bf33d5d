// The thread in which a program's own server runs: it makes one from plain settings, says where it listens, and closes it
// when it is told to. Its sockets, timers and engines belong to this thread, so none of them keeps the program alive. Knows
// nothing of who asks: only this program has the key.

import { createRequire } from 'node:module'
import { parentPort, workerData } from 'node:worker_threads'
import { downloadModel } from '../formats/hub-download.ts'
import { loadConfig, type ServerConfig } from '../server/config.ts'
import { startServer } from '../server/index.ts'
import { MANIFEST } from '../server/manifest.ts'

export interface ThreadSettings {
  readonly stateDir: string
  readonly key: string
  readonly models: Readonly<Record<string, string>>
  readonly dataDir: string | undefined
  readonly threads: number
  readonly logLevel: string
}

/** What the thread says: once one of the first two; then, if it was told to close, that it has. */
export type ThreadMessage = { readonly url: string } | { readonly problem: string } | { readonly isClosed: true }

/** The program is the only client, and may think for a day between two calls. */
const SESSION_TIMEOUT_S = 7 * 24 * 3600
/** What a package that was installed as a client alone leaves out. The database of a program's own is always SQLite. */
const NEEDED = Object.keys(MANIFEST.optionalDependencies).filter((name) => name !== 'pg')

try {
  await run(workerData as ThreadSettings)
} catch (error) {
  say({ problem: error instanceof Error ? error.message : String(error) })
}

async function run(settings: ThreadSettings): Promise<void> {
  const missing = NEEDED.filter((name) => !isInstalled(name))
  if (missing.length > 0) {
    throw new Error(
      `Computing in this process needs ${missing.join(', ')}, which the package was installed without. Next: npm install --include=optional; or let a server compute: import from 'twinkle-ts/client'.`,
    )
  }
  const { pino } = await import('pino')
  const config = await configOf(settings)
  const server = await startServer(config, pino({ level: config.logLevel, base: null }, process.stderr))
  parentPort?.once('message', async () => {
    await server.close()
    say({ isClosed: true })
  })
  say({ url: server.url })
}

async function configOf({ key, models, stateDir, dataDir, threads, logLevel }: ThreadSettings): Promise<ServerConfig> {
  const flags = { stateDir, dataDir, threads, logLevel, port: 0, sessionTimeoutSeconds: SESSION_TIMEOUT_S }
  const named = Object.keys(models).length > 0 ? { models } : {}
  const { config } = await loadConfig({ flags: { ...flags, ...named }, env: { TWINKLE_KEYS: key } })
  const fetched = config.models.map(async (model) =>
    model.path.startsWith('hf:') ? { ...model, path: await downloadModel(model.path) } : model,
  )
  return { ...config, models: await Promise.all(fetched) }
}

function isInstalled(name: string): boolean {
  try {
    createRequire(import.meta.url).resolve(name)
    return true
  } catch {
    return false
  }
}

function say(message: ThreadMessage): void {
  parentPort?.postMessage(message)
}
