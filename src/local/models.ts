// Which base models this process is to serve: by name, or where a program writes the path of one, as that path. A server
// knows names only, so a path is given the name of its folder. Nothing is opened here.

import { homedir } from 'node:os'
import { isAbsolute, resolve } from 'node:path'
import { LocalError } from './errors.ts'

export class LocalModels {
  /** Name -> folder or file; empty: the embedded model alone. */
  readonly #places: Map<string, string>

  constructor(places: Readonly<Record<string, string>> = {}) {
    this.#places = new Map(Object.entries(places))
  }

  /**
   * The name that stands for what a program calls a model: a path (`./`, `/`, `~/` at its beginning, or `.gguf` at its end)
   * becomes one, anything else is a name already. `isNew`: nobody has named this path before.
   */
  nameOf(modelId: string): { readonly name: string; readonly isNew: boolean } {
    if (!isPath(modelId)) return { name: modelId, isNew: false }
    const path = resolve(modelId.replace(/^~(?=\/)/, homedir()))
    const named = [...this.#places].find(([, place]) => resolve(place) === path)
    if (named) return { name: named[0], isNew: false }
    const name = (path.split(/[\\/]/).filter(Boolean).at(-1) ?? '').replace(/\.gguf$/i, '')
    const other = this.#places.get(name)
    if (other !== undefined) {
      throw new LocalError(
        `${modelId} and ${other} would both be called ${name}. Next: name them: configureLocal({ models: { NAME: ${JSON.stringify(modelId)} } }).`,
      )
    }
    this.#places.set(name, path)
    return { name, isNew: true }
  }

  /** As a server's configuration has them. */
  entries(): Record<string, string> {
    return Object.fromEntries([...this.#places].map(([name, place]) => [name, place.replace(/^~(?=\/)/, homedir())]))
  }
}

function isPath(modelId: string): boolean {
  return /^(\.{1,2}|~)([\\/]|$)/.test(modelId) || isAbsolute(modelId) || /\.gguf$/i.test(modelId)
}
