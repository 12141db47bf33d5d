// Copies of checkpoints: a checkpoint of the same kind and name in a run of its own, which has never been live. Files are
// written once and never changed, so a copy links them: it costs no space, and each side may be deleted alone.

import { createHash } from 'node:crypto'
import { mkdirSync } from 'node:fs'
import { link, open, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Kysely, Transaction } from 'kysely'
import type { AdapterFile } from '../../backends/backend.ts'
import { serviceError } from '../errors.ts'
import { isAway } from '../store/postgres-driver.ts'
import type { Database } from '../store/schema.ts'
import { transact } from '../store/transact.ts'
import { writeAudit } from './audit.ts'
import { type Checkpoint, type Checkpoints, checkTtl, tinkerPath } from './checkpoints.ts'
import { type Destination, insertFinishedRun } from './finished-runs.ts'
import type { Quotas } from './quotas.ts'
import type { Sessions } from './sessions.ts'

export interface CopyCall {
  readonly sourcePath: string
  /** As whom the source may be read: the tenant itself, or who gave it a token. */
  readonly reader: string
  /** Where the copy goes: a project, or a number of a session that is open. */
  readonly destination: Destination
  readonly ttlSeconds: number | null
  /** A repeated call with it gives the first copy; absent: every call makes one. */
  readonly key?: string
}

export class WeightCopies {
  readonly #db: Kysely<Database>
  readonly #checkpoints: Checkpoints
  readonly #sessions: Sessions
  readonly #quotas: Quotas

  constructor(db: Kysely<Database>, checkpoints: Checkpoints, sessions: Sessions, quotas: Quotas) {
    this.#quotas = quotas
    this.#db = db
    this.#checkpoints = checkpoints
    this.#sessions = sessions
  }

  /**
   * Gives the tinker path of the copy. Throws CHECKPOINT_NOT_FOUND, STORAGE_FULL, INVALID_TTL, UNKNOWN_SESSION, SESSION_OVER, and
   * SEQ_CONFLICT when the key or the number was used for something else.
   */
  async copy(tenant: string, call: CopyCall): Promise<string> {
    const hash = createHash('sha256')
      .update(JSON.stringify([call.sourcePath, call.destination, call.ttlSeconds]))
      .digest('hex')
    const known = await this.#known(this.#db, tenant, call.key, hash)
    if (known !== null) return known
    checkTtl(call.ttlSeconds)
    if ('sessionId' in call.destination) await this.#sessions.require(tenant, call.destination.sessionId)
    const source = await this.#checkpoints.find(call.reader, call.sourcePath)
    // It takes no space, and yet counts in full: it stays when the other one is deleted.
    await this.#quotas.checkStorage(tenant, source.bytes)
    const folder = this.#checkpoints.newFolder(source.run, `${source.kind}-copies`)
    await linkFiles(source, this.#checkpoints.absolute(source.folder), folder.absolute)
    const copy = { ...source, folder: folder.relative }
    const written = await transact(this.#db, (trx) => this.#write(trx, tenant, call, hash, copy)).catch(
      async (cause) => {
        // Where nobody knows whether it was written, the row may name the folder: then it stays.
        if (!isAway(cause)) await rm(folder.absolute, { recursive: true, force: true })
        throw cause
      },
    )
    if (!written.isNew) await rm(folder.absolute, { recursive: true, force: true })
    return written.path
  }

  /** Throws SEQ_CONFLICT. */
  async #known(db: Kysely<Database>, tenant: string, key: string | undefined, hash: string): Promise<string | null> {
    if (key === undefined) return null
    const known = await db
      .selectFrom('weight_copies')
      .selectAll()
      .where('tenant', '=', tenant)
      .where('key', '=', key)
      .executeTakeFirst()
    if (known && known.request_hash !== hash) throw serviceError('SEQ_CONFLICT', { identity: key })
    return known?.path ?? null
  }

  async #write(trx: Transaction<Database>, tenant: string, call: CopyCall, hash: string, source: Checkpoint) {
    const first = await this.#known(trx, tenant, call.key, hash)
    if (first !== null) return { path: first, isNew: false }
    const run = await insertFinishedRun(trx, tenant, call.destination, source, {
      parent: tinkerPath(source),
      madeBy: 'copy_weights',
    })
    const { id: _, ...columns } = source
    const now = Date.now()
    const expiresAt = call.ttlSeconds === null ? null : now + call.ttlSeconds * 1000
    await trx
      .insertInto('checkpoints')
      .values({ ...columns, tenant, run, created_at: now, expires_at: expiresAt, published: 0 })
      .execute()
    const path = tinkerPath({ ...source, run })
    await writeAudit(trx, tenant, 'checkpoint_copy', { actor: tenant, tinker_path: path, source: call.sourcePath })
    if (call.key !== undefined) {
      await trx.insertInto('weight_copies').values({ tenant, key: call.key, request_hash: hash, path }).execute()
    }
    if (expiresAt !== null) this.#checkpoints.willExpire(expiresAt)
    return { path, isNew: true }
  }
}

async function linkFiles({ files }: Checkpoint, from: string, to: string): Promise<void> {
  mkdirSync(to)
  for (const { name } of JSON.parse(files) as AdapterFile[]) await link(join(from, name), join(to, name))
  const folder = await open(to, 'r')
  try {
    await folder.sync()
  } finally {
    await folder.close()
  }
}
