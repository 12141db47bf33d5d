// A running server: services, app and socket, and an orderly end.

import { once } from 'node:events'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Logger } from 'pino'
import { adapterHandlers } from './adapters.ts'
import { createApp } from './app.ts'
import type { ServerConfig } from './config.ts'
import { downloadHandlers } from './downloads.ts'
import { hubHandlers } from './hub/handlers.ts'
import { MANIFEST } from './manifest.ts'
import { modelBackends } from './model-backends.ts'
import { observe } from './observing/observing.ts'
import { openServices } from './services/services.ts'

export interface RunningServer {
  /** `http://HOST:PORT`. */
  readonly url: string
  /** Any key is welcome, each a tenant of its own. */
  readonly isOpen: boolean
  /** Ends held requests, finishes what was acknowledged and is ready, and closes everything. */
  close(): Promise<void>
}

/** Clients keep connections over their long polls of 45 s. */
const KEEP_ALIVE_MS = 75_000

export async function startServer(config: ServerConfig, log: Logger): Promise<RunningServer> {
  const services = await openServices(config, await modelBackends(config), log)
  const observing = observe(services, config, MANIFEST.version)
  const operator = {
    ...observing.handlers,
    ...hubHandlers(services.models),
    ...downloadHandlers(services),
    ...adapterHandlers(services.adapterFolders),
  }
  let isClosing = false
  const app = createApp({ config, services, operator, registry: observing.registry, log, isClosing: () => isClosing })
  const server = createServer(app.callback())
  server.keepAliveTimeout = KEEP_ALIVE_MS
  // A client that has closed its side gets its answer all the same; what is held for it ends (see signalOf in the router).
  Object.assign(server, { httpAllowHalfOpen: true })
  try {
    await listen(server, config)
  } catch (error) {
    await services.close()
    throw error
  }
  const close = async () => {
    isClosing = true
    const closed = once(server, 'close')
    server.close()
    services.futures.endWaiting()
    services.sampleEvents.endWaiting()
    server.closeIdleConnections()
    observing.close()
    await services.close()
    server.closeAllConnections()
    await closed
  }
  return { url: urlOf(server), isOpen: services.tenants.isOpen, close }
}

async function listen(server: Server, { host, port }: ServerConfig): Promise<void> {
  server.listen(port, host)
  await once(server, 'listening')
}

function urlOf(server: Server): string {
  const { address, family, port } = server.address() as AddressInfo
  return `http://${family === 'IPv6' ? `[${address}]` : address}:${port}`
}
