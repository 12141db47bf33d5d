// Which backend serves which base model: the server's, or one that a model names. Modules are imported here, before anything
// is opened, so that a name that nobody registered stops the start.

import { isAbsolute } from 'node:path'
import type { Backend } from '../backends/backend.ts'
import { getBackend, loadBackend } from '../backends/registry.ts'
import type { ServerConfig } from './config.ts'
import type { BackendOf } from './services/base-models.ts'

/** Throws BACKEND_NOT_FOUND. */
export async function modelBackends(config: ServerConfig): Promise<BackendOf> {
  for (const module of config.backends) await loadBackend(module, '/')
  const chosen = new Map<string, Backend>()
  for (const { name, backend = config.backend } of config.models) {
    chosen.set(name, isAbsolute(backend) ? await loadBackend(backend, '/') : getBackend(backend))
  }
  return (model) => chosen.get(model) ?? getBackend(config.backend)
}
