/**
 * Brings a model from a hub to this machine: picks the files a model needs, resumes what was begun, verifies checksums,
 * and ends with a folder or .gguf file that `openModelSource` opens.
 * Knows the order of things; HTTP is hub-client.ts, the place on disk hub-cache.ts.
 */
import { constants } from 'node:fs'
import * as fs from 'node:fs/promises'
import * as path from 'node:path'
import { readJsonObject } from './file-bytes.ts'
import { checksumKind, fileChecksum, HubCache } from './hub-cache.ts'
import { HubClient, HubUnreachableError, type RemoteFile, unreachable } from './hub-client.ts'
import { HubError, type HubReference, type HubSettings, hubSettings, parseHubReference } from './hub-reference.ts'

export interface DownloadProgress {
  readonly file: string
  /** Of all files of this download, bytes that were there before included. */
  readonly doneBytes: number
  readonly totalBytes: number
}

export interface DownloadOptions {
  readonly env?: NodeJS.ProcessEnv
  readonly signal?: AbortSignal
  readonly onProgress?: (progress: DownloadProgress) => void
  /** Things a user should know although the download goes on, as sentences. */
  readonly onNotice?: (sentence: string) => void
  /** Wait before the first retry; for tests. */
  readonly firstRetryMs?: number
}

const SMALL_FILES = [
  'config.json',
  'generation_config.json',
  'tokenizer.json',
  'tokenizer_config.json',
  'special_tokens_map.json',
  'added_tokens.json',
  'chat_template.jinja',
  'chat_template.json',
]
const SINGLE = 'model.safetensors'
const INDEX = 'model.safetensors.index.json'

/**
 * Downloads `hf:org/name[@revision][/FILE.gguf]` and gives the path to open. What is there already is not fetched
 * again. Throws HubError with a sentence for the user; on abort, the signal's reason. A later call resumes.
 */
export async function downloadModel(reference: string, options: DownloadOptions = {}): Promise<string> {
  const wanted = parseHubReference(reference)
  const settings = hubSettings(options.env)
  const cache = new HubCache(settings.cacheFolder, wanted.repository)
  if (settings.offline) return cached(wanted, cache, `HF_HUB_OFFLINE is set`)
  try {
    return await new Download(wanted, settings, cache, options).run()
  } catch (error) {
    if (!(error instanceof HubUnreachableError)) throw error
    const place = cached(wanted, cache, error.message)
    options.onNotice?.(`${error.message}; using ${wanted.repository} as it was downloaded before`)
    return place
  }
}

/** The model as an earlier download left it, if it is complete. */
function cached(wanted: HubReference, cache: HubCache, reason: string): string {
  const commit = cache.commitOf(wanted.revision)
  if (commit !== undefined && isComplete(wanted, cache, commit)) return placeOf(wanted, cache, commit)
  throw new HubError(`${wanted.repository} is not downloaded completely, and ${reason}`)
}

function isComplete(wanted: HubReference, cache: HubCache, commit: string): boolean {
  if (wanted.file) return cache.has(commit, wanted.file)
  const names = cache.names(commit)
  const weights = names.includes(INDEX) ? shardNames(path.join(cache.snapshot(commit), INDEX)) : [SINGLE]
  return ['config.json', 'tokenizer.json', ...weights].every((name) => names.includes(name))
}

function placeOf({ file }: HubReference, cache: HubCache, commit: string): string {
  return file ? path.join(cache.snapshot(commit), file) : cache.snapshot(commit)
}

class Download {
  private readonly wanted: HubReference
  private readonly settings: HubSettings
  private readonly cache: HubCache
  private readonly options: DownloadOptions
  private readonly client: HubClient
  private doneBytes = 0
  private totalBytes = 0

  constructor(wanted: HubReference, settings: HubSettings, cache: HubCache, options: DownloadOptions) {
    this.wanted = wanted
    this.settings = settings
    this.cache = cache
    this.options = options
    this.client = new HubClient({ settings, signal: options.signal, firstRetryMs: options.firstRetryMs })
  }

  async run(): Promise<string> {
    const { commit, files } = await this.client.list(this.wanted)
    await this.fetchAll(commit, pickFiles(this.wanted, files))
    if (!this.wanted.file && !files.includes(SINGLE)) {
      // Which shards there are is known once the index is here.
      const shards = shardNames(path.join(this.cache.snapshot(commit), INDEX))
      await this.fetchAll(commit, shards)
    }
    this.cache.rememberCommit(this.wanted.revision, commit)
    return placeOf(this.wanted, this.cache, commit)
  }

  private async fetchAll(commit: string, names: readonly string[]): Promise<void> {
    const absent = names.filter((name) => !this.cache.has(commit, name))
    const remote = await Promise.all(absent.map((name) => this.client.describe(this.wanted.repository, commit, name)))
    const bytes = remote.reduce((sum, file) => sum + file.bytes, 0)
    this.totalBytes += bytes
    const free = this.cache.freeBytes()
    if (bytes > free) {
      throw new HubError(
        `${this.wanted.repository} needs ${bytes} bytes in ${this.settings.cacheFolder}, ${free} are free`,
      )
    }
    for (const file of remote) {
      if (!this.cache.hasBlob(file.etag)) await this.fetchBlob(file)
      else this.advance(file, file.bytes)
      this.cache.link(commit, file.name, file.etag)
    }
  }

  private async fetchBlob(file: RemoteFile): Promise<void> {
    const partial = this.cache.partial(file.etag)
    // Without truncation: what is there already is the beginning, or what another process is writing right now.
    const handle = await fs.open(partial, constants.O_RDWR | constants.O_CREAT)
    try {
      await this.fill(handle, file)
      await handle.truncate(file.bytes)
      await handle.sync()
    } finally {
      await handle.close()
    }
    try {
      await this.verify(partial, file)
      this.cache.keepBlob(file.etag)
    } catch (cause) {
      // Two that fetch the same file write the same bytes at the same places; the first to finish takes it away.
      if ((cause as NodeJS.ErrnoException).code !== 'ENOENT' || !this.cache.hasBlob(file.etag)) throw cause
    }
  }

  /** Writes from where the file ends; a connection that breaks is taken up again from where it broke. */
  private async fill(handle: fs.FileHandle, file: RemoteFile): Promise<void> {
    let position = Math.min((await handle.stat()).size, file.bytes)
    let furthest = position
    this.advance(file, position)
    for (let failures = 0; position < file.bytes; ) {
      try {
        const { start, body } = await this.client.read(file, position)
        this.advance(file, start - position)
        position = start
        for await (const chunk of body) {
          const bytes = Math.min(chunk.length, file.bytes - position)
          await handle.write(chunk, 0, bytes, position)
          position += bytes
          this.advance(file, bytes)
          if (position === file.bytes) break
        }
        if (position < file.bytes) throw new Error(`connection closed after ${position} of ${file.bytes} bytes`)
      } catch (cause) {
        if (cause instanceof HubError || this.options.signal?.aborted || isDiskError(cause)) throw cause
        // Patience starts anew only with new bytes: a storage that always restarts and breaks must come to an end.
        failures = position > furthest ? 1 : failures + 1
        furthest = Math.max(furthest, position)
        if (!(await this.client.backOff(failures))) throw unreachable(this.settings, cause)
      }
    }
  }

  private async verify(partial: string, file: RemoteFile): Promise<void> {
    const kind = checksumKind(file.etag)
    if (kind === 'none') {
      this.options.onNotice?.(`${this.settings.endpoint} gives no checksum for ${file.name}: only its size was checked`)
      return
    }
    const found = await fileChecksum(partial, kind)
    if (found === file.etag) return
    await fs.rm(partial, { force: true })
    throw new HubError(
      `${file.name} arrived damaged (checksum ${found}, expected ${file.etag}); it was removed, try again`,
    )
  }

  private advance(file: RemoteFile, bytes: number): void {
    this.doneBytes += bytes
    this.options.onProgress?.({ file: file.name, doneBytes: this.doneBytes, totalBytes: this.totalBytes })
  }
}

/** The files to fetch first; shards follow when their index is read. */
function pickFiles({ repository, file }: HubReference, files: readonly string[]): string[] {
  const gguf = files.filter((name) => name.endsWith('.gguf'))
  if (file) {
    if (files.includes(file)) return [file]
    throw new HubError(`${repository} has no ${file}; its .gguf files: ${gguf.join(', ') || 'none'}`)
  }
  const weights = [SINGLE, INDEX].find((name) => files.includes(name))
  if (!weights) {
    const hint =
      gguf.length > 0
        ? `name one of its .gguf files: hf:${repository}/${gguf.join(', ')}`
        : 'only safetensors and .gguf are read'
    throw new HubError(`${repository} has no safetensors weights; ${hint}`)
  }
  return [...SMALL_FILES.filter((name) => files.includes(name)), weights]
}

/** Plain names only: an index comes from the network, and its names become paths. */
function shardNames(index: string): string[] {
  const { weight_map: weightMap } = readJsonObject(index)
  const names = [...new Set(Object.values((weightMap ?? {}) as object))]
  const bad = names.find((name) => typeof name !== 'string' || !/^[\w.-]+\.safetensors$/.test(name))
  if (bad !== undefined || names.length === 0) throw new HubError(`${INDEX} names the shard ${JSON.stringify(bad)}`)
  return names as string[]
}

function isDiskError(cause: unknown): boolean {
  return ['ENOSPC', 'EDQUOT', 'EIO', 'EROFS', 'EACCES'].includes((cause as NodeJS.ErrnoException).code ?? '')
}
