// Large byte strings as files of the state directory. A file is synced before its name is handed out, so a row that
// names it can be read after a crash. Names are random: nothing from outside becomes a path. They end in length and checksum
// of the bytes: what a disk has lost of a file is noticed, not read as something shorter.

import { randomUUID } from 'node:crypto'
import { mkdirSync } from 'node:fs'
import { open, readFile, rename, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { crc32 } from 'node:zlib'

/** Up to this size bytes live in the database row. */
const INLINE_BYTES = 64 * 1024

/** Bytes in their row or in a file, never both. */
export interface Stored {
  readonly inline: Uint8Array | null
  readonly file: string | null
}

/** A file that is missing, cut off or changed. */
export class TornBlob extends Error {
  constructor(file: string, problem: string) {
    super(`the file ${file} of the state directory ${problem}`)
    this.name = 'TornBlob'
  }
}

export class Blobs {
  readonly #folder: string
  constructor(stateDir: string) {
    this.#folder = join(stateDir, 'blobs')
    mkdirSync(this.#folder, { recursive: true })
  }

  async put(bytes: Uint8Array): Promise<Stored> {
    if (bytes.byteLength <= INLINE_BYTES) return { inline: bytes, file: null }
    const name = `${randomUUID()}${markOf(bytes)}`
    const temporary = join(this.#folder, `${name}.tmp`)
    try {
      await writeSynced(temporary, bytes)
      await rename(temporary, join(this.#folder, name))
      await syncFolder(this.#folder)
    } catch (cause) {
      // On a full disk, what is left of it would take the place of the next attempt.
      await this.remove(`${name}.tmp`)
      await this.remove(name)
      throw cause
    }
    return { inline: null, file: name }
  }

  /** Throws TornBlob for a file that is not what was written. */
  async get({ inline, file }: Stored): Promise<Uint8Array | null> {
    if (!file) return inline
    const bytes = await readFile(join(this.#folder, file)).catch((cause) => {
      throw isMissing(cause) ? new TornBlob(file, 'is gone') : cause
    })
    const [mark] = MARK.exec(file) ?? []
    if (mark !== undefined && mark !== markOf(bytes)) throw new TornBlob(file, 'is not what was written')
    return bytes
  }

  /** 0 for one that is gone. */
  async sizeOf(file: string): Promise<number> {
    const found = await stat(join(this.#folder, file)).catch((cause) => {
      if (!isMissing(cause)) throw cause
    })
    return found?.size ?? 0
  }

  async remove(file: string): Promise<void> {
    await rm(join(this.#folder, file), { force: true })
  }
}

/** Files of earlier versions have none. */
const MARK = /\.\d+\.[0-9a-f]{8}$/

const markOf = (bytes: Uint8Array) => `.${bytes.byteLength}.${crc32(bytes).toString(16).padStart(8, '0')}`

const isMissing = (cause: unknown) => (cause as NodeJS.ErrnoException).code === 'ENOENT'

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
