// What a program needs that embeds a server: its configuration and its start. The server itself is loaded when it starts:
// where the package was installed as a client, that says which package is missing rather than fails to be imported.

import type { Logger } from 'pino'
import type { ServerConfig } from './config.ts'
import { withPackages } from './missing-package.ts'
import type { RunningServer } from './server.ts'

export { ConfigError, type ConfigInput, type LoadedConfig, loadConfig, type ServerConfig } from './config.ts'
export type { RunningServer } from './server.ts'

/** A server of its own in this process, on the host and port of its configuration. Throws MISSING_PACKAGE. */
export async function startServer(config: ServerConfig, log: Logger): Promise<RunningServer> {
  const server = await withPackages(() => import('./server.ts'))
  return server.startServer(config, log)
}
