// The backends that can be named in a configuration: those that come with this package and those that others register.
// A backend of one's own is a module whose default export is made by `defineBackend`.

import { isAbsolute, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { Backend } from './backend.ts'
import { engineError } from './engine-errors.ts'
import { provideOwnPackage } from './own-package.ts'
import { transformersBackend } from './transformers/backend.ts'

const backends = new Map<string, Backend>([[transformersBackend.name, transformersBackend]])

/** Makes a backend known under its name, in place of one of that name. */
export function registerBackend(backend: Backend): void {
  backends.set(backend.name, backend)
}

export function backendNames(): string[] {
  return [...backends.keys()]
}

export function getBackend(name: string): Backend {
  const backend = backends.get(name)
  if (backend) return backend
  throw engineError('BACKEND_NOT_FOUND', `no backend ${JSON.stringify(name)}; there are: ${backendNames().join(', ')}`)
}

/** Imports and registers the backend of a module: a path relative to `folder`, or the name of a package. Throws BACKEND_NOT_FOUND. */
export async function loadBackend(specifier: string, folder: string): Promise<Backend> {
  await provideOwnPackage()
  const isPath = specifier.startsWith('.') || isAbsolute(specifier)
  const module = await import(isPath ? pathToFileURL(resolve(folder, specifier)).href : specifier).catch((cause) => {
    throw engineError('BACKEND_NOT_FOUND', `backend module ${specifier} cannot be loaded: ${cause.message}`)
  })
  const backend = module.default as Partial<Backend> | undefined
  if (typeof backend?.name !== 'string' || typeof backend.open !== 'function') {
    throw engineError('BACKEND_NOT_FOUND', `module ${specifier} has no default export made by defineBackend`)
  }
  registerBackend(backend as Backend)
  return backend as Backend
}
