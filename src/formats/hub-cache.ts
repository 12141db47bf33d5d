/**
 * The folder in which Hugging Face's tools keep models: blobs by checksum, snapshots of commits that link to them, and
 * the commit of each branch. Using the same layout, a model that Python has downloaded is not downloaded again.
 * Knows files on this machine; asks no network.
 */
import { createHash, randomBytes } from 'node:crypto'
import * as fs from 'node:fs'
import * as path from 'node:path'
import { pipeline } from 'node:stream/promises'
import { writeFileAtomically } from './file-bytes.ts'

export class HubCache {
  private readonly root: string

  constructor(cacheFolder: string, repository: string) {
    this.root = path.join(cacheFolder, `models--${repository.replace('/', '--')}`)
  }

  /** Folder of a commit, whether or not it is complete. */
  snapshot(commit: string): string {
    return path.join(this.root, 'snapshots', commit)
  }

  has(commit: string, name: string): boolean {
    return fs.existsSync(path.join(this.snapshot(commit), name))
  }

  names(commit: string): string[] {
    const folder = this.snapshot(commit)
    return fs.existsSync(folder) ? (fs.readdirSync(folder, { recursive: true }) as string[]) : []
  }

  /** The commit that a branch had when it was last asked for; the revision itself if it is a commit. */
  commitOf(revision: string): string | undefined {
    if (/^[0-9a-f]{40}$/.test(revision)) return revision
    const file = path.join(this.root, 'refs', revision)
    return fs.existsSync(file) ? fs.readFileSync(file, 'utf8').trim() : undefined
  }

  rememberCommit(revision: string, commit: string): void {
    if (revision === commit) return
    fs.mkdirSync(path.join(this.root, 'refs'), { recursive: true })
    writeFileAtomically(path.join(this.root, 'refs', revision), [new TextEncoder().encode(commit)])
  }

  /** The file that a blob's bytes are gathered in; what is in it already is the beginning of this very blob. */
  partial(etag: string): string {
    fs.mkdirSync(path.join(this.root, 'blobs'), { recursive: true })
    return `${this.blob(etag)}.incomplete`
  }

  hasBlob(etag: string): boolean {
    return fs.existsSync(this.blob(etag))
  }

  /** Makes a complete partial file the blob. */
  keepBlob(etag: string): void {
    fs.renameSync(this.partial(etag), this.blob(etag))
  }

  /** Puts a blob under its name into a commit's folder: by a relative link, or by a copy where links are not allowed. */
  link(commit: string, name: string, etag: string): void {
    const place = path.join(this.snapshot(commit), name)
    fs.mkdirSync(path.dirname(place), { recursive: true })
    const temporary = `${place}.${randomBytes(4).toString('hex')}.tmp`
    try {
      fs.symlinkSync(path.relative(path.dirname(place), this.blob(etag)), temporary)
    } catch (cause) {
      if (!['EPERM', 'ENOSYS'].includes((cause as NodeJS.ErrnoException).code ?? '')) throw cause
      fs.copyFileSync(this.blob(etag), temporary)
    }
    fs.renameSync(temporary, place)
  }

  /** Free bytes where models are kept. */
  freeBytes(): number {
    fs.mkdirSync(this.root, { recursive: true })
    const { bavail, bsize } = fs.statfsSync(this.root)
    return bavail * bsize
  }

  /** An ETag comes from the network: anything but a checksum is hashed before it names a file. */
  private blob(etag: string): string {
    const name = checksumKind(etag) === 'none' ? `etag-${createHash('sha256').update(etag).digest('hex')}` : etag
    return path.join(this.root, 'blobs', name)
  }
}

export type ChecksumKind = 'sha256' | 'git' | 'none'

export function checksumKind(etag: string): ChecksumKind {
  if (/^[0-9a-f]{64}$/.test(etag)) return 'sha256'
  return /^[0-9a-f]{40}$/.test(etag) ? 'git' : 'none'
}

/** The checksum of a file in the same form as the hub's ETag. Git hashes a blob with its length before it. */
export async function fileChecksum(file: string, kind: 'sha256' | 'git'): Promise<string> {
  const hash = createHash(kind === 'git' ? 'sha1' : 'sha256')
  if (kind === 'git') hash.update(`blob ${fs.statSync(file).size}\0`)
  await pipeline(fs.createReadStream(file, { highWaterMark: 1 << 20 }), hash)
  return hash.digest('hex')
}
