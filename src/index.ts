// What a program needs that trains in its own process (the native client's classes, see `local/`), and one that embeds a
// server: its configuration, its start, and the interface of a compute backend. Servers are loaded when they start, so
// that this also imports where the package was installed as a client. Clients alone: `twinkle-ts/client`, `twinkle-ts/tinker`.

import type { Logger } from 'pino'
import type { ServerConfig } from './server/config.ts'
import type { RunningServer } from './server/server.ts'

export { defineBackend } from './backends/backend.ts'
export * from './local/index.ts'
export { ConfigError, type ConfigInput, type LoadedConfig, loadConfig, type ServerConfig } from './server/config.ts'
export type { RunningServer } from './server/server.ts'

/** A server of its own in this process, on the host and port of its configuration. */
export async function startServer(config: ServerConfig, log: Logger): Promise<RunningServer> {
  const server = await import('./server/server.ts')
  return server.startServer(config, log)
}
