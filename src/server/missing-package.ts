// Packages that only servers need are optional: an installation as a client goes without them. Makes the sentence that says
// which one is missing where it is needed, and how to add it. Knows the manifest's list, not who imports what.

import { type ServiceError, serviceError } from './errors.ts'
import { MANIFEST } from './manifest.ts'

/** @param use What it is needed for, behind "needed for": `the SQLite database`. */
export function missingPackage(name: string, use: string, cause?: unknown): ServiceError {
  const version = MANIFEST.optionalDependencies[name]
  return serviceError('MISSING_PACKAGE', { package: version ? `${name}@${version}` : name, use }, { cause })
}

/** MISSING_PACKAGE when this is Node's complaint that one of our optional packages is not there; else undefined. */
export function absentPackage(thrown: unknown): ServiceError | undefined {
  const { code, message } = (thrown ?? {}) as { code?: unknown; message?: unknown }
  if (code !== 'ERR_MODULE_NOT_FOUND') return
  const name = /^Cannot find package '([^']+)'/.exec(String(message))?.[1]
  if (name === undefined || !(name in MANIFEST.optionalDependencies)) return
  return missingPackage(name, 'a server', thrown)
}

/** What `load` imports. Throws MISSING_PACKAGE when it needs an optional package that is not there. */
export async function withPackages<T>(load: () => Promise<T>): Promise<T> {
  try {
    return await load()
  } catch (error) {
    throw absentPackage(error) ?? error
  }
}
