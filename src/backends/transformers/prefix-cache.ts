// Keys and values of prompts' beginnings, for the next request that begins alike. A block is 64 tokens and known by a hash of
// whose it is, the weights, and all tokens up to its end: what is found was computed from the same numbers in the same chunks,
// so a hit has the bits of a miss. Within a byte budget the least recently used goes, later blocks of a prompt before earlier
// ones. Knows neither models nor requests.

import { createHash } from 'node:crypto'

/** As the graph gave them for one row of 64 tokens: [layers, kvHeads, 64, D] each. */
export interface PrefixBlock {
  readonly keys: Float32Array
  readonly values: Float32Array
}

interface Entry extends PrefixBlock {
  readonly weights: string
}

/** Names of the whole blocks of a prompt, first to last. Equal names: same scope, same weights, same tokens up to there. */
export function blockNames(scope: string, weights: string, prompt: Int32Array, size: number): string[] {
  let name = digest(JSON.stringify([scope, weights]))
  return Array.from({ length: Math.floor(prompt.length / size) }, (_, block) => {
    const { buffer, byteOffset } = prompt.subarray(block * size)
    name = digest(name, new Uint8Array(buffer, byteOffset, size * prompt.BYTES_PER_ELEMENT))
    return name
  })
}

function digest(...parts: (string | Uint8Array)[]): string {
  const hash = createHash('sha256')
  for (const part of parts) hash.update(part)
  return hash.digest('base64')
}

export class PrefixCache {
  readonly #budget: number
  /** The least recently used first. A block is younger than those that come after it in its prompt. */
  readonly #entries = new Map<string, Entry>()
  #bytes = 0

  constructor(budgetBytes: number) {
    this.#budget = budgetBytes
  }

  get bytes(): number {
    return this.#bytes
  }

  /** The blocks that are known of a prompt, from its first on without a gap. */
  find(names: readonly string[]): PrefixBlock[] {
    const missing = names.findIndex((name) => !this.#entries.has(name))
    const known = missing < 0 ? names : names.slice(0, missing)
    this.#touch(known)
    return known.map((name) => this.#entries.get(name) as Entry)
  }

  /** Keeps a prompt's next block; `names` are those of the blocks before it and its own. Without the former it is useless. */
  add(names: readonly string[], weights: string, { keys, values }: PrefixBlock): void {
    const name = names.at(-1)
    const before = names.slice(0, -1)
    if (name === undefined || !before.every((n) => this.#entries.has(n))) return
    if (!this.#entries.has(name) && this.#makeRoom(keys.byteLength + values.byteLength, new Set(before))) {
      this.#entries.set(name, { weights, keys, values })
      this.#bytes += keys.byteLength + values.byteLength
    }
    this.#touch(names)
  }

  /** Nobody samples from these weights any more. */
  forget(weights: string): void {
    for (const [name, entry] of this.#entries) if (entry.weights === weights) this.#remove(name, entry)
  }

  /** False when there cannot be room, as what must stay fills the budget. */
  #makeRoom(bytes: number, staying: ReadonlySet<string>): boolean {
    for (const [name, entry] of this.#entries) {
      if (this.#bytes + bytes <= this.#budget) break
      if (!staying.has(name)) this.#remove(name, entry)
    }
    return this.#bytes + bytes <= this.#budget
  }

  #remove(name: string, { keys, values }: PrefixBlock): void {
    this.#entries.delete(name)
    this.#bytes -= keys.byteLength + values.byteLength
  }

  #touch(names: readonly string[]): void {
    for (const name of names.toReversed()) {
      const entry = this.#entries.get(name)
      if (!entry) continue
      this.#entries.delete(name)
      this.#entries.set(name, entry)
    }
  }
}
