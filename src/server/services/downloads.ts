// Files of checkpoints for whoever holds a signed address: it is for one file of one checkpoint. Knows rows and files; no
// HTTP here.

import { createReadStream } from 'node:fs'
import { join } from 'node:path'
import type { Kysely } from 'kysely'
import type { AdapterFile } from '../../backends/backend.ts'
import { type TarEntry, tarPieces } from '../../formats/tar.ts'
import { serviceError } from '../errors.ts'
import type { Database } from '../store/schema.ts'
import type { Checkpoint, Checkpoints } from './checkpoints.ts'
import type { SignedAddress, SignedAddresses } from './signed-addresses.ts'

/** The name under which all files come as one. */
export const ARCHIVE = 'archive.tar'
/** Clients of the archive look for this empty file. */
const COMPLETE = { name: 'checkpoint_complete', bytes: 0, path: '' }

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
  readonly #addresses: SignedAddresses

  constructor(db: Kysely<Database>, checkpoints: Checkpoints, addresses: SignedAddresses) {
    this.#db = db
    this.#checkpoints = checkpoints
    this.#addresses = addresses
  }

  /** Names of the files that make up the adapter. */
  files(checkpoint: Checkpoint): string[] {
    return adapterFiles(checkpoint).map((file) => file.name)
  }

  /** @param file One of `files`, or `ARCHIVE`. */
  sign(checkpoint: Checkpoint, file: string): SignedAddress {
    return this.#addresses.sign('downloads', String(checkpoint.id), file)
  }

  /** Throws DOWNLOAD_REFUSED for an address that is not ours or is over, DOWNLOAD_GONE when its checkpoint is. */
  async open(id: string, file: string, signed: { expires: number; signature: string }): Promise<Download> {
    this.#addresses.check(['downloads', id, file], signed)
    const row = await this.#db.selectFrom('checkpoints').selectAll().where('id', '=', Number(id)).executeTakeFirst()
    if (!row || (row.expires_at !== null && row.expires_at <= Date.now())) throw serviceError('DOWNLOAD_GONE')
    return file === ARCHIVE ? this.#archive(row) : this.#file(row, file)
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
