// Adapters into this server and out of it: archives become checkpoints, checkpoints become models with the adapter merged in.
// Knows rows, folders and addresses; the numbers are adapter-task.ts's, in a process of its own.

import { randomUUID } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { mkdir, mkdtemp, readdir, rm, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { Kysely } from 'kysely'
import type { AdapterFile } from '../../backends/backend.ts'
import { unpackAdapter } from '../../formats/adapter-archive.ts'
import type { FloatDType } from '../../formats/dtype.ts'
import { FormatError } from '../../formats/format-error.ts'
import { serviceError } from '../errors.ts'
import type { Database } from '../store/schema.ts'
import { transact } from '../store/transact.ts'
import type { AdapterTasks } from './adapter-tasks.ts'
import { writeAudit } from './audit.ts'
import type { BaseModels } from './base-models.ts'
import { type Checkpoints, checkName, checkTtl, tinkerPath } from './checkpoints.ts'
import type { Download } from './downloads.ts'
import { insertFinishedRun } from './finished-runs.ts'
import type { Quotas } from './quotas.ts'
import type { Run } from './runs.ts'
import type { SignedAddress, SignedAddresses } from './signed-addresses.ts'

/** Of the files of one adapter. Rank 128 on every module of a model of 8 billion parameters has 1.3 GB. */
const MAX_ADAPTER_BYTES = 2 ** 31
/** Longest an address is good, and a little more for a download that has begun. */
const MERGED_LIFE_MS = 2 * 3_600_000

/** Below a merged model's room. */
const FILES = 'files'

export interface ImportCall {
  readonly baseModel: string
  readonly name: string
  readonly ttlSeconds: number | null
}

export interface ImportedCheckpoint {
  readonly path: string
  readonly shape: Pick<Run, 'base_model' | 'rank' | 'alpha' | 'train_attention' | 'train_mlp' | 'train_unembed'>
  readonly bytes: number
}

export interface MergedFile extends AdapterFile {
  readonly address: SignedAddress
}

export interface AdapterFolderParts {
  readonly db: Kysely<Database>
  readonly stateDir: string
  readonly models: BaseModels
  readonly checkpoints: Checkpoints
  readonly addresses: SignedAddresses
  readonly tasks: AdapterTasks
  readonly quotas: Quotas
}

export class AdapterFolders {
  readonly #parts: AdapterFolderParts
  /** The merged model of each tenant: one. */
  readonly #merged = new Map<string, { readonly id: string; readonly end: () => Promise<void> }>()
  constructor(parts: AdapterFolderParts) {
    this.#parts = parts
  }

  /** Removes what an earlier run of a server left half done or merged; another one may be using the newer ones. */
  async tidy(): Promise<void> {
    for (const room of ['uploads', 'merged']) {
      const parent = join(this.#parts.stateDir, room)
      await mkdir(parent, { recursive: true })
      for (const name of await readdir(parent)) {
        const folder = join(parent, name)
        const { mtimeMs } = await stat(folder)
        if (mtimeMs < Date.now() - MERGED_LIFE_MS) await rm(folder, { recursive: true, force: true })
      }
    }
  }

  /**
   * Makes a checkpoint of an archive, in a run of its own. Throws UNKNOWN_BASE_MODEL, INVALID_CHECKPOINT_NAME, INVALID_TTL,
   * ADAPTER_REFUSED, STORAGE_FULL and ADAPTER_TASK_RUNNING.
   */
  async import(
    tenant: string,
    call: ImportCall,
    archive: AsyncIterable<Uint8Array>,
    signal: AbortSignal,
  ): Promise<ImportedCheckpoint> {
    const { models, tasks, stateDir } = this.#parts
    checkName(call.name)
    checkTtl(call.ttlSeconds)
    models.get(call.baseModel)
    return tasks.of(tenant, async () => {
      const upload = await mkdtemp(join(stateDir, 'uploads', 'adapter-'))
      try {
        await unpackAdapter('the archive', archive, upload, MAX_ADAPTER_BYTES).catch((cause) => {
          throw cause instanceof FormatError ? serviceError('ADAPTER_REFUSED', { problem: cause.message }) : cause
        })
        return await this.#register(tenant, call, upload, signal)
      } finally {
        await rm(upload, { recursive: true, force: true })
      }
    })
  }

  async #register(tenant: string, call: ImportCall, source: string, signal: AbortSignal): Promise<ImportedCheckpoint> {
    const { db, models, checkpoints, tasks } = this.#parts
    const { baseModel } = call
    const model = models.path(baseModel)
    const { maxRank } = models.get(baseModel).info
    const folder = checkpoints.newFolder(`imported-${randomUUID()}`, 'weights')
    const job = { kind: 'import', source, target: folder.absolute, model, baseModel, maxRank } as const
    // A child that was killed leaves what it had begun.
    const cleanUp = () => rm(dirname(dirname(folder.absolute)), { recursive: true, force: true })
    const { files, ...imported } = await tasks.run(job, signal).catch(async (cause) => {
      await cleanUp()
      throw cause
    })
    const shape = {
      base_model: baseModel,
      rank: imported.rank,
      alpha: imported.alpha,
      train_attention: imported.trainAttention ? 1 : 0,
      train_mlp: imported.trainMlp ? 1 : 0,
      train_unembed: imported.trainUnembed ? 1 : 0,
    }
    const { name, ttlSeconds } = call
    const checkpoint = {
      name,
      ttlSeconds,
      kind: 'weights',
      overwrite: false,
      userMetadata: {},
      hasOptimizer: false,
    } as const
    const bytes = files.reduce((sum, file) => sum + file.bytes, 0)
    try {
      await this.#parts.quotas.checkStorage(tenant, bytes)
      const path = await transact(db, async (trx) => {
        const origin = { parent: null, madeBy: 'an import' }
        const id = await insertFinishedRun(trx, tenant, { projectId: null }, shape, origin)
        await checkpoints.register(trx, { ...shape, id, tenant }, checkpoint, folder.relative, files)
        const made = tinkerPath({ run: id, kind: 'weights', name })
        await writeAudit(trx, tenant, 'checkpoint_import', { actor: tenant, tinker_path: made })
        return made
      })
      return { path, shape, bytes }
    } catch (cause) {
      await cleanUp()
      throw cause
    }
  }

  /** Files of a Hugging Face folder with the checkpoint merged into its base model. Replaces the tenant's last one. */
  async merge(
    tenant: string,
    path: string,
    dtype: FloatDType | null,
    signal: AbortSignal,
  ): Promise<readonly MergedFile[]> {
    const { models, checkpoints, addresses, tasks, stateDir } = this.#parts
    const { folder, base_model } = await checkpoints.find(tenant, path)
    models.get(base_model)
    return tasks.of(tenant, async () => {
      await this.#merged.get(tenant)?.end()
      const id = randomUUID()
      const room = join(stateDir, 'merged', id)
      await mkdir(room)
      const source = checkpoints.absolute(folder)
      const job = { kind: 'merge', source, target: join(room, FILES), model: models.path(base_model), dtype } as const
      const files = await tasks.run(job, signal).catch(async (cause) => {
        await rm(room, { recursive: true, force: true })
        throw cause
      })
      this.#keep(tenant, id, room)
      return files.map((file) => ({ ...file, address: addresses.sign('merged', id, file.name) }))
    })
  }

  #keep(tenant: string, id: string, folder: string): void {
    const end = async () => {
      clearTimeout(timer)
      if (this.#merged.get(tenant)?.id === id) this.#merged.delete(tenant)
      await rm(folder, { recursive: true, force: true })
    }
    const timer = setTimeout(() => void end().catch(() => {}), MERGED_LIFE_MS).unref()
    this.#merged.set(tenant, { id, end })
  }

  /** Throws DOWNLOAD_REFUSED, and DOWNLOAD_GONE for one that was replaced. */
  async open(id: string, name: string, signed: { expires: number; signature: string }): Promise<Download> {
    this.#parts.addresses.check(['merged', id, name], signed)
    const folder = join(this.#parts.stateDir, 'merged', id, FILES)
    const names = await readdir(folder).catch((): string[] => [])
    if (!names.includes(name)) throw serviceError('DOWNLOAD_GONE')
    const file = join(folder, name)
    const { size } = await stat(file)
    return {
      bytes: size,
      sha256: null,
      tag: `${id}-${name}`,
      read: async function* (start, end) {
        if (start < end) yield* createReadStream(file, { start, end: end - 1 })
      },
    }
  }

  close(): void {
    for (const { end } of this.#merged.values()) void end().catch(() => {})
  }
}
