// Files that data sets are loaded from by name, and those that tenants save: a folder of the operator's, which every tenant
// may read, and one for each tenant below the state directory. Names from outside become paths here and nowhere else.

import { createHash, randomUUID } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { mkdir, open, readdir, readFile, realpath, rename, rm, stat, utimes } from 'node:fs/promises'
import { dirname, join, sep } from 'node:path'
import { createInterface } from 'node:readline'
import { type DatasetMeta, rowsNeeded } from '../../catalogue/datasets/dataset-meta.ts'
import {
  formatOf,
  rowOfJson,
  rowsOfText,
  TABLE_FORMATS,
  type TableFormat,
} from '../../catalogue/datasets/table-text.ts'
import type { Pace } from '../../catalogue/pace.ts'
import type { Row } from '../../catalogue/rows.ts'
import { serviceError } from '../errors.ts'
import type { Quotas } from './quotas.ts'

/** What is parsed at a stretch is small; JSON lines are read one by one. */
const MOST_BYTES = { jsonl: 256 * 2 ** 20, json: 8 * 2 ** 20, csv: 8 * 2 ** 20 } satisfies Record<TableFormat, number>
/** Of all files that one tenant has saved. */
const MOST_SAVED_BYTES = 2 ** 30
/** Saved files that nobody has loaded or saved for so long go. */
const SAVED_LIFE_MS = 30 * 86_400_000

const PART = /^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$/
const MOST_PARTS = 8

export class DataSources {
  readonly #dataDir: string | null
  readonly #saved: string
  readonly #quotas: Quotas

  /** @param dataDir The operator's folder, absolute. */
  constructor(dataDir: string | null, stateDir: string, quotas: Quotas) {
    this.#dataDir = dataDir
    this.#saved = join(stateDir, 'data')
    this.#quotas = quotas
  }

  /**
   * All rows of a file that the tenant saved, or else of the operator's: `NAME`, `NAME.jsonl`, `NAME/SPLIT.jsonl` or
   * `NAME/SUBSET/SPLIT.jsonl`, or another format. Throws UNKNOWN_DATASET, INVALID_DATASET_PATH, DATASET_TOO_LARGE.
   */
  async rows(tenant: string, meta: DatasetMeta, pace: Pace): Promise<readonly Row[]> {
    const parts = partsOf(meta.id.replace(/^\w+:\/\//, ''))
    const file =
      (await this.#find(this.#folderOf(tenant), parts, meta)) ??
      (this.#dataDir && (await this.#find(this.#dataDir, parts, meta)))
    if (!file)
      throw serviceError('UNKNOWN_DATASET', { id: meta.id, formats: TABLE_FORMATS.map((format) => `.${format}`) })
    const format = formatOf(file)
    const { size } = await stat(file)
    const limit = MOST_BYTES[format]
    if (size > limit) throw serviceError('DATASET_TOO_LARGE', { id: meta.id, limit })
    if (file.startsWith(this.#saved + sep)) await utimes(file, new Date(), new Date())
    return format === 'jsonl' ? linesOf(file, meta, pace) : rowsOfText(await readFile(file, 'utf8'), format, meta.id)
  }

  /** Replaces a file of that name. Throws INVALID_DATASET_PATH, SAVED_DATA_FULL, STORAGE_FULL. */
  async save(tenant: string, path: string, lines: AsyncIterable<string>): Promise<void> {
    const folder = this.#folderOf(tenant)
    const file = join(folder, ...partsOf(path))
    const used = (await filesBelow(folder)).reduce((sum, { path, bytes }) => (path === file ? sum : sum + bytes), 0)
    await mkdir(dirname(file), { recursive: true })
    const temporary = `${folder}.${randomUUID()}.tmp`
    try {
      const bytes = await writeLines(temporary, lines, used)
      await this.#quotas.checkStorage(tenant, used + bytes)
      await rename(temporary, file)
    } finally {
      await rm(temporary, { force: true })
    }
  }

  /** Files that nobody wanted for a month. */
  async tidy(now = Date.now()): Promise<void> {
    for (const { path, usedAt } of await filesBelow(this.#saved)) if (usedAt < now - SAVED_LIFE_MS) await rm(path)
  }

  #folderOf(tenant: string): string {
    return join(this.#saved, createHash('sha256').update(tenant).digest('hex').slice(0, 32))
  }

  /** What a link leads to outside of the folder is not there. */
  async #find(folder: string, parts: readonly string[], { subset, split }: DatasetMeta): Promise<string | null> {
    const named = join(folder, ...parts)
    const within = [split, ...(PART.test(subset) ? [join(subset, split)] : [])].filter(
      (name) => PART.test(split) && name,
    )
    const stems = [named, ...within.map((name) => join(named, name))]
    const candidates = [named, ...stems.flatMap((stem) => TABLE_FORMATS.map((format) => `${stem}.${format}`))]
    const root = await realpath(folder).catch(() => null)
    if (root === null) return null
    for (const candidate of candidates) {
      const real = await realpath(candidate).catch(() => null)
      if (real?.startsWith(root + sep) && (await stat(real)).isFile()) return real
    }
    return null
  }
}

/** Throws INVALID_DATASET_PATH for anything that is not a plain name below a folder. */
function partsOf(path: string): string[] {
  const parts = path.split('/')
  if (parts.length <= MOST_PARTS && parts.every((part) => PART.test(part))) return parts
  throw serviceError('INVALID_DATASET_PATH', { path })
}

/** Reads no further than is needed. What is read is counted meanwhile: what is kept of it, whoever keeps it counts. */
async function linesOf(file: string, { id, slice }: DatasetMeta, pace: Pace): Promise<Row[]> {
  const rows: Row[] = []
  const most = rowsNeeded(slice)
  let held = 0
  const input = createReadStream(file, 'utf8')
  let number = 0
  try {
    for await (const line of createInterface({ input, crlfDelay: Number.POSITIVE_INFINITY })) {
      number++
      if (rows.length >= most) break
      if (line.trim() === '') continue
      const bytes = 2 * line.length
      pace.hold(bytes)
      held += bytes
      rows.push(rowOfJson(line.replace(/^\uFEFF/, ''), `line ${number} of ${id}`))
      await pace.rest()
    }
  } finally {
    input.destroy()
    pace.hold(-held)
  }
  return rows
}

/** Gives the bytes; stops where they are too many. */
async function writeLines(file: string, lines: AsyncIterable<string>, used: number): Promise<number> {
  const handle = await open(file, 'wx')
  let bytes = 0
  try {
    for await (const line of lines) {
      bytes += Buffer.byteLength(line)
      if (used + bytes > MOST_SAVED_BYTES || bytes > MOST_BYTES.jsonl) {
        throw serviceError('SAVED_DATA_FULL', {
          used,
          limit: used + bytes > MOST_SAVED_BYTES ? MOST_SAVED_BYTES : used + MOST_BYTES.jsonl,
        })
      }
      await handle.writeFile(line)
    }
    await handle.sync()
  } finally {
    await handle.close()
  }
  return bytes
}

async function filesBelow(folder: string): Promise<{ path: string; bytes: number; usedAt: number }[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch(() => [])
  const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name))
  return Promise.all(
    files.map(async (path) => {
      const { size, mtimeMs } = await stat(path)
      return { path, bytes: size, usedAt: mtimeMs }
    }),
  )
}
