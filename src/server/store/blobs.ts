// Large byte strings as files of the state directory. A file is synced before its name is handed out, so a row that
// names it can be read after a crash. Names are random: nothing from outside becomes a path.

import { randomUUID } from 'node:crypto'
import { mkdirSync } from 'node:fs'
import { open, readFile, rename, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'

/** Up to this size bytes live in the database row. */
const INLINE_BYTES = 64 * 1024

/** Bytes in their row or in a file, never both. */
export interface Stored {
  readonly inline: Uint8Array | null
  readonly file: string | null
}

export class Blobs {
  readonly #folder: string
  constructor(stateDir: string) {
    this.#folder = join(stateDir, 'blobs')
    mkdirSync(this.#folder, { recursive: true })
  }

  async put(bytes: Uint8Array): Promise<Stored> {
    if (bytes.byteLength <= INLINE_BYTES) return { inline: bytes, file: null }
    const name = randomUUID()
    const temporary = join(this.#folder, `${name}.tmp`)
    await writeSynced(temporary, bytes)
    await rename(temporary, join(this.#folder, name))
    await syncFolder(this.#folder)
    return { inline: null, file: name }
  }

  async get({ inline, file }: Stored): Promise<Uint8Array | null> {
    return file ? readFile(join(this.#folder, file)) : inline
  }

  async sizeOf(file: string): Promise<number> {
    return (await stat(join(this.#folder, file))).size
  }

  async remove(file: string): Promise<void> {
    await rm(join(this.#folder, file), { force: true })
  }
}

async function writeSynced(file: string, bytes: Uint8Array): Promise<void> {
  const handle = await open(file, 'wx')
  try {
    await handle.writeFile(bytes)
    await handle.sync()
  } finally {
    await handle.close()
  }
}

/** A rename is durable once its folder is. */
async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}
