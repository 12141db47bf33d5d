// Files of checkpoints for whoever holds a signed address: it needs no key, names one file of one checkpoint, and is over
// after an hour. The secret that signs lies in the state directory, so addresses outlive a restart. No HTTP here.

import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto'
import { createReadStream, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Kysely } from 'kysely'
import type { AdapterFile } from '../../backends/backend.ts'
import { type TarEntry, tarPieces } from '../../formats/tar.ts'
import { serviceError } from '../errors.ts'
import type { Database } from '../store/schema.ts'
import type { Checkpoint, Checkpoints } from './checkpoints.ts'

/** The tinker client asks for new addresses five minutes before the end. */
const LIFE_MS = 3_600_000
/** The name under which all files come as one. */
export const ARCHIVE = 'archive.tar'
/** Clients of the archive look for this empty file. */
const COMPLETE = { name: 'checkpoint_complete', bytes: 0, path: '' }

export interface SignedAddress {
  /** Below the server's origin. */
  readonly path: string
  /** Milliseconds since 1970. */
  readonly expires: number
}

type Piece = Uint8Array | (TarEntry & { readonly path: string })

export interface Download {
  readonly bytes: number
  /** Hex; null for an archive, which is put together on the way. */
  readonly sha256: string | null
  /** Stands for the content: the same tag, the same bytes. */
  readonly tag: string
  /** The bytes of [start, end), read as they are taken. */
  read(start: number, end: number): AsyncGenerator<Uint8Array>
}

export class Downloads {
  readonly #db: Kysely<Database>
  readonly #checkpoints: Checkpoints
  readonly #secret: Uint8Array

  constructor(db: Kysely<Database>, checkpoints: Checkpoints, secret: Uint8Array) {
    this.#db = db
    this.#checkpoints = checkpoints
    this.#secret = secret
  }

  /** Names of the files that make up the adapter. */
  files(checkpoint: Checkpoint): string[] {
    return adapterFiles(checkpoint).map((file) => file.name)
  }

  /** @param file One of `files`, or `ARCHIVE`. */
  sign(checkpoint: Checkpoint, file: string): SignedAddress {
    const expires = Date.now() + LIFE_MS
    const signature = this.#signature(checkpoint.id, file, expires)
    const path = `/downloads/${checkpoint.id}/${encodeURIComponent(file)}?expires=${expires}&signature=${signature}`
    return { path, expires }
  }

  /** Throws DOWNLOAD_REFUSED for an address that is not ours or is over, DOWNLOAD_GONE when its checkpoint is. */
  async open(id: number, file: string, expires: number, signature: string): Promise<Download> {
    const expected = Buffer.from(this.#signature(id, file, expires))
    const given = Buffer.from(signature)
    const isOurs = given.length === expected.length && timingSafeEqual(given, expected)
    if (!isOurs || expires <= Date.now()) throw serviceError('DOWNLOAD_REFUSED')
    const row = await this.#db.selectFrom('checkpoints').selectAll().where('id', '=', id).executeTakeFirst()
    if (!row || (row.expires_at !== null && row.expires_at <= Date.now())) throw serviceError('DOWNLOAD_GONE')
    return file === ARCHIVE ? this.#archive(row) : this.#file(row, file)
  }

  #signature(id: number, file: string, expires: number): string {
    return createHmac('sha256', this.#secret).update(`${id}\n${expires}\n${file}`).digest('base64url')
  }

  #file(row: Checkpoint, name: string): Download {
    const file = adapterFiles(row).find((f) => f.name === name)
    if (!file) throw serviceError('DOWNLOAD_GONE')
    const piece = { ...file, path: this.#path(row, name) }
    return { bytes: file.bytes, sha256: file.sha256, tag: file.sha256, read: (start, end) => read([piece], start, end) }
  }

  #archive(row: Checkpoint): Download {
    const files = adapterFiles(row).map(({ name, bytes }) => ({ name, bytes, path: this.#path(row, name) }))
    const pieces = tarPieces([...files, COMPLETE], Math.floor(row.created_at / 1000))
    const bytes = pieces.reduce((sum, piece) => sum + sizeOf(piece), 0)
    return { bytes, sha256: null, tag: `tar-${row.id}`, read: (start, end) => read(pieces, start, end) }
  }

  #path(row: Checkpoint, name: string): string {
    return join(this.#checkpoints.absolute(row.folder), name)
  }
}

/** The secret of a state directory, made at the first start. */
export function downloadSecret(stateDir: string): Uint8Array {
  const file = join(stateDir, 'download-secret')
  try {
    writeFileSync(file, randomBytes(32), { flag: 'wx', mode: 0o600 })
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
  }
  return readFileSync(file)
}

/** What PEFT reads. Training checkpoints hold the optimiser's state beside it, which is of no use elsewhere. */
function adapterFiles(checkpoint: Checkpoint): AdapterFile[] {
  const files: AdapterFile[] = JSON.parse(checkpoint.files)
  return files.filter(({ name }) => !name.includes('optimizer'))
}

const sizeOf = (piece: Piece): number => (piece instanceof Uint8Array ? piece.byteLength : piece.bytes)

async function* read(pieces: readonly Piece[], start: number, end: number): AsyncGenerator<Uint8Array> {
  let at = 0
  for (const piece of pieces) {
    const from = Math.max(0, start - at)
    const to = Math.min(sizeOf(piece), end - at)
    at += sizeOf(piece)
    if (from >= to) continue
    if (piece instanceof Uint8Array) yield piece.subarray(from, to)
    else yield* createReadStream(piece.path, { start: from, end: to - 1 })
  }
}
