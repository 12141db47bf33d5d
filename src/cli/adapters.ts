// `twinkle adapters`: PEFT folders into a running server, checkpoints out of it as PEFT folders, and base models with an
// adapter merged in. Adapters are named by their tinker:// path, or by a folder of this machine.

import { createHash } from 'node:crypto'
import { createReadStream, createWriteStream } from 'node:fs'
import { mkdir, mkdtemp, readdir, rename, rm, stat } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { createGunzip } from 'node:zlib'
import { ADAPTER_FILES, unpackAdapter } from '../formats/adapter-archive.ts'
import type { FloatDType } from '../formats/dtype.ts'
import { writeMergedModel } from '../formats/merged-model.ts'
import { openModelSource } from '../formats/model-folder.ts'
import { adaptableModules } from '../formats/model-tensors.ts'
import { readPeftAdapter } from '../formats/peft.ts'
import { tarPieces } from '../formats/tar.ts'
import { CommandError } from './complaint.ts'
import { callJson, callServer, type ServerOptions, serverAddress } from './server-call.ts'

interface ImportOptions extends ServerOptions {
  readonly baseModel: string
  readonly name: string
  readonly ttl?: string
  readonly json?: boolean
}

interface MergeOptions extends ServerOptions {
  /** A folder or .gguf file: merge here, without a server where the adapter is a folder too. */
  readonly model?: string
  readonly dtype?: FloatDType
}

interface Imported {
  readonly path: string
  readonly base_model: string
  readonly rank: number
  readonly alpha: number
}

interface Merged {
  readonly files: readonly { readonly name: string; readonly url: string; readonly sha256: string }[]
}

/** An archive is sent whole: what it may hold is the server's to say. */
const MOST_BYTES = Number.MAX_SAFE_INTEGER

export async function importAdapter(source: string, options: ImportOptions): Promise<void> {
  const query = new URLSearchParams({ base_model: options.baseModel, name: options.name })
  if (options.ttl !== undefined) query.set('ttl_seconds', options.ttl)
  const body = await archiveOf(source)
  const imported = await callJson<Imported>(serverAddress(options), `/api/v1/adapters?${query}`, {
    method: 'POST',
    headers: { 'content-type': 'application/x-tar' },
    body: Readable.toWeb(Readable.from(body, { objectMode: false })) as ReadableStream<Uint8Array>,
    duplex: 'half',
  } as RequestInit)
  const { path, base_model, rank, alpha } = imported
  print(options.json ? JSON.stringify(imported) : `${path}\nRank ${rank}, alpha ${alpha}, on ${base_model}.`)
}

export async function exportAdapter(path: string, out: string, options: ServerOptions): Promise<void> {
  await intoNewFolder(out, (folder) => download(serverAddress(options), path, folder))
  print(`${out} loads in PEFT: PeftModel.from_pretrained(base_model, ${JSON.stringify(out)})`)
}

export async function mergeAdapter(source: string, out: string, options: MergeOptions): Promise<void> {
  await intoNewFolder(out, (folder) => merge(source, folder, options))
  print(`${out} loads in transformers: AutoModelForCausalLM.from_pretrained(${JSON.stringify(out)})`)
}

async function merge(source: string, folder: string, options: MergeOptions): Promise<void> {
  const address = serverAddress(options)
  if (options.model === undefined) return fetchMerged(address, source, folder, options.dtype)
  const model = openModelSource(options.model)
  const adapter = isTinkerPath(source) ? join(folder, '.adapter') : source
  if (isTinkerPath(source)) {
    await mkdir(adapter)
    await download(address, source, adapter)
  }
  writeMergedModel(folder, model, readPeftAdapter(adapter, adaptableModules(model.config), model), options.dtype)
  if (isTinkerPath(source)) await rm(adapter, { recursive: true })
}

async function fetchMerged(address: string, path: string, folder: string, dtype?: FloatDType): Promise<void> {
  if (!isTinkerPath(path)) {
    throw new CommandError(
      `${path} is not on a server, so it is merged on this machine, and the base model is not named.`,
      'Name it with --model FOLDER or --model FILE.gguf.',
    )
  }
  const { files } = await callJson<Merged>(address, '/api/v1/adapters/merge', {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ path, ...(dtype && { dtype }) }),
  })
  for (const { name, url, sha256 } of files) await fetchFile(address, url, join(folder, basename(name)), sha256)
}

async function fetchFile(address: string, url: string, file: string, sha256: string): Promise<void> {
  const hash = createHash('sha256')
  const bytes = bodyOf(await callServer(address, url))
  await pipeline(
    bytes,
    async function* counted(chunks: AsyncIterable<Uint8Array>) {
      for await (const chunk of chunks) {
        hash.update(chunk)
        yield chunk
      }
    },
    createWriteStream(file),
  )
  if (hash.digest('hex') === sha256) return
  throw new CommandError(`${basename(file)} arrived damaged.`, 'Run it again.')
}

async function download(address: string, path: string, folder: string): Promise<void> {
  const [, run, kind, name] = /^tinker:\/\/([^/]+)\/([^/]+)\/([^/]+)$/.exec(path) ?? []
  if (!run || !kind || !name) {
    throw new CommandError(`${path} is no checkpoint.`, 'Give one as tinker://RUN/weights/NAME.')
  }
  const route = `/api/v1/training_runs/${encodeURIComponent(run)}/checkpoints/${kind}/${name}/archive`
  const { url } = await callJson<{ url: string }>(address, route, { redirect: 'manual' })
  await unpackAdapter(path, bodyOf(await callServer(address, url)), folder, MOST_BYTES)
}

const bodyOf = ({ body }: Response): Readable => Readable.fromWeb(body as Parameters<typeof Readable.fromWeb>[0])

/** The folder gets its name when it is whole. */
async function intoNewFolder(out: string, fill: (folder: string) => Promise<void>): Promise<void> {
  const target = resolve(out)
  if ((await readdir(target).catch(() => [])).length > 0) {
    throw new CommandError(`${out} is there already.`, 'Choose a new folder, or remove it.')
  }
  await mkdir(dirname(target), { recursive: true })
  const folder = await mkdtemp(`${target}.part-`)
  try {
    await fill(folder)
    await rename(folder, target)
  } catch (error) {
    await rm(folder, { recursive: true, force: true })
    throw error
  }
}

/** Looks at the files before anything is sent. */
async function archiveOf(source: string): Promise<AsyncIterable<Uint8Array>> {
  if (!(await stat(source)).isDirectory()) {
    const bytes = createReadStream(source)
    return /\.(tgz|gz)$/.test(source) ? bytes.pipe(createGunzip()) : bytes
  }
  const files: AdapterFile[] = []
  // One after the other: of several that are missing, the first is named.
  for (const name of ADAPTER_FILES) files.push({ name, path: join(source, name), bytes: await sizeOf(source, name) })
  return tarOf(files)
}

async function sizeOf(folder: string, name: string): Promise<number> {
  const found = await stat(join(folder, name)).catch(() => null)
  if (found?.isFile()) return found.size
  throw new CommandError(`${folder} has no ${name}.`, 'Give a folder that PEFT saved with save_pretrained.')
}

interface AdapterFile {
  readonly name: string
  readonly path: string
  readonly bytes: number
}

async function* tarOf(files: readonly AdapterFile[]): AsyncGenerator<Uint8Array> {
  for (const piece of tarPieces(files, 0)) {
    if (piece instanceof Uint8Array) yield piece
    else yield* createReadStream(piece.path)
  }
}

const isTinkerPath = (path: string) => path.startsWith('tinker://')

function print(text: string): void {
  process.stdout.write(`${text}\n`)
}
