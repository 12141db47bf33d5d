// Checkpoints: adapter weights (and optimiser state) on disk under a `tinker://` path. A row is written only when its
// files are synced, so what is registered can be read. Knows rows and folders; engines write and read the files.

import { randomUUID } from 'node:crypto'
import { mkdirSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { Kysely, Selectable, Transaction } from 'kysely'
import { type AdapterFile, EngineError } from '../../backends/backend.ts'
import { serviceError } from '../errors.ts'
import type { CheckpointKind, CheckpointTable, Database } from '../store/schema.ts'
import { transact } from '../store/transact.ts'
import { writeAudit } from './audit.ts'
import type { Run } from './runs.ts'
import { writeStorageOf } from './storage-meter.ts'

export type Checkpoint = Selectable<CheckpointTable>

const KINDS: readonly CheckpointKind[] = ['weights', 'sampler_weights', 'external_weights']
const NAME = /^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$/

export function checkName(name: string): void {
  if (!NAME.test(name)) throw serviceError('INVALID_CHECKPOINT_NAME', { name })
}

/** Bounds that Tinker documents for a checkpoint's life: an hour to ten years. */
export const TTL_SECONDS = { min: 3600, max: 315_360_000 }

export function checkTtl(ttl: number | null): void {
  if (ttl === null || (Number.isInteger(ttl) && ttl >= TTL_SECONDS.min && ttl <= TTL_SECONDS.max)) return
  throw serviceError('INVALID_TTL', { ttl, ...TTL_SECONDS })
}

/** An engine cannot take the files of an adapter. */
export function isUnreadable(cause: unknown): boolean {
  return cause instanceof EngineError && (cause.code === 'INVALID_ADAPTER' || cause.code === 'STORAGE')
}

/** What an engine says of files that it cannot take names folders of this machine: the client gets the checkpoint's name. */
export function unreadable(cause: unknown, path: string): unknown {
  return isUnreadable(cause) ? serviceError('CHECKPOINT_UNREADABLE', { path }, { cause }) : cause
}

export function tinkerPath({ run, kind, name }: { run: string; kind: CheckpointKind; name: string }): string {
  return `tinker://${run}/${kind}/${name}`
}

/** Twinkle's scheme names the same checkpoints. */
export function parseTinkerPath(path: string): { run: string; kind: CheckpointKind; name: string } {
  const [, run, kind, name, rest] = /^(?:tinker|twinkle):\/\/([^/]+)\/([^/]+)\/([^/]+)(.*)$/.exec(path) ?? []
  if (!run || !name || rest || !KINDS.includes(kind as CheckpointKind)) {
    throw serviceError('INVALID_TINKER_PATH', { path })
  }
  return { run, kind: kind as CheckpointKind, name }
}

/** Past its time: gone for everybody, whether its row was removed yet or not. */
function isOver({ expires_at }: Checkpoint): boolean {
  return expires_at !== null && expires_at <= Date.now()
}

/** The run that a checkpoint is of, as far as it says what the files are. */
export type CheckpointOwner = Pick<
  Run,
  'id' | 'tenant' | 'base_model' | 'rank' | 'alpha' | 'train_attention' | 'train_mlp' | 'train_unembed'
>

export interface NewCheckpoint {
  readonly kind: CheckpointKind
  readonly name: string
  readonly overwrite: boolean
  readonly ttlSeconds: number | null
  readonly userMetadata: Readonly<Record<string, string>>
  readonly hasOptimizer: boolean
}

export class Checkpoints {
  readonly #db: Kysely<Database>
  readonly #stateDir: string
  readonly #expiring: ((at: number) => void)[] = []
  constructor(db: Kysely<Database>, stateDir: string) {
    this.#db = db
    this.#stateDir = stateDir
  }

  /** A folder that does not exist yet, below the state directory; its parent does. */
  newFolder(run: string, kind: string): { relative: string; absolute: string } {
    const relative = join('checkpoints', run.replaceAll(':', '_'), kind, randomUUID())
    const absolute = join(this.#stateDir, relative)
    mkdirSync(dirname(absolute), { recursive: true })
    return { relative, absolute }
  }

  absolute(folder: string): string {
    return join(this.#stateDir, folder)
  }

  /** What the tenant may read: its own checkpoints and published ones. Throws CHECKPOINT_NOT_FOUND. */
  async find(tenant: string, path: string): Promise<Checkpoint> {
    const row = await this.#select(parseTinkerPath(path))
    if (!row || isOver(row) || (row.tenant !== tenant && !row.published)) {
      throw serviceError('CHECKPOINT_NOT_FOUND', { path })
    }
    return row
  }

  /** What the tenant may change: its own. Throws CHECKPOINT_NOT_FOUND. */
  async own(tenant: string, path: string): Promise<Checkpoint> {
    const row = await this.find(tenant, path)
    if (row.tenant !== tenant) throw serviceError('CHECKPOINT_NOT_FOUND', { path })
    return row
  }

  /** Lets every tenant read it, or its owner only. Saying it again changes nothing. */
  async setPublished(tenant: string, path: string, isPublished: boolean): Promise<void> {
    const { id } = await this.own(tenant, path)
    const published = isPublished ? 1 : 0
    const event = isPublished ? 'checkpoint_publish' : 'checkpoint_unpublish'
    await transact(this.#db, async (trx) => {
      await trx.updateTable('checkpoints').set({ published }).where('id', '=', id).execute()
      await writeAudit(trx, tenant, event, { actor: tenant, tinker_path: path })
    })
  }

  /** Called with the time at which a checkpoint that is being saved will expire. */
  onExpiring(listener: (at: number) => void): void {
    this.#expiring.push(listener)
  }

  willExpire(at: number): void {
    for (const listener of this.#expiring) listener(at)
  }

  async #select({ run, kind, name }: { run: string; kind: CheckpointKind; name: string }) {
    return this.#db
      .selectFrom('checkpoints')
      .selectAll()
      .where('run', '=', run)
      .where('kind', '=', kind)
      .where('name', '=', name)
      .executeTakeFirst()
  }

  /** Throws CHECKPOINT_EXISTS when the name is taken and may not be replaced. Asked before the files are written. */
  async checkFree(run: Run, checkpoint: NewCheckpoint): Promise<Checkpoint | undefined> {
    const existing = await this.#select({ run: run.id, kind: checkpoint.kind, name: checkpoint.name })
    if (existing && !isOver(existing) && !checkpoint.overwrite) {
      throw serviceError('CHECKPOINT_EXISTS', { path: tinkerPath(existing) })
    }
    return existing
  }

  /** Part of the transaction that ends the save: the row and the answer become visible together. */
  async register(
    trx: Transaction<Database>,
    run: CheckpointOwner,
    checkpoint: NewCheckpoint,
    folder: string,
    files: readonly AdapterFile[],
  ): Promise<void> {
    const { kind, name, ttlSeconds } = checkpoint
    const now = Date.now()
    const expiresAt = ttlSeconds === null ? null : now + ttlSeconds * 1000
    const replaced = await trx
      .selectFrom('checkpoints')
      .select('id')
      .where('run', '=', run.id)
      .where('kind', '=', kind)
      .where('name', '=', name)
      .executeTakeFirst()
    if (replaced) {
      await writeStorageOf(trx, replaced.id)
      await trx.deleteFrom('checkpoints').where('id', '=', replaced.id).execute()
    }
    await trx
      .insertInto('checkpoints')
      .values({
        tenant: run.tenant,
        run: run.id,
        kind,
        name,
        folder,
        files: JSON.stringify(files),
        bytes: files.reduce((sum, f) => sum + f.bytes, 0),
        base_model: run.base_model,
        rank: run.rank,
        alpha: run.alpha,
        train_attention: run.train_attention,
        train_mlp: run.train_mlp,
        train_unembed: run.train_unembed,
        has_optimizer: checkpoint.hasOptimizer ? 1 : 0,
        user_metadata: JSON.stringify(checkpoint.userMetadata),
        created_at: now,
        expires_at: expiresAt,
      })
      .execute()
    if (expiresAt !== null) this.willExpire(expiresAt)
  }

  /**
   * Removes a folder that no checkpoint names any more and nobody samples from: neither an active session, nor a sample that
   * was acknowledged before its session was over. What stays for such a sample is housekeeping's.
   */
  async removeUnused(folder: string): Promise<void> {
    const named = await this.#db.selectFrom('checkpoints').select('id').where('folder', '=', folder).execute()
    const sampled = await this.#db
      .selectFrom('sampling_sessions as own')
      .innerJoin('sessions', 'sessions.id', 'own.session')
      .select('own.id')
      .where('own.folder', '=', folder)
      .where(({ or, eb, exists, selectFrom }) =>
        or([
          eb('sessions.state', '=', 'active'),
          exists(
            selectFrom('operations')
              .select('operations.id')
              .whereRef('operations.subject', '=', 'own.id')
              .where('operations.finished_at', 'is', null),
          ),
        ]),
      )
      .execute()
    if (!named.length && !sampled.length) await rm(this.absolute(folder), { recursive: true, force: true })
  }
}
