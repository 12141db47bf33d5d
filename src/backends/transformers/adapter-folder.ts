// A new folder that appears whole or not at all, whatever happens meanwhile, and the list of what is in it. Knows nothing
// of what is written into it.

import { createHash, randomUUID } from 'node:crypto'
import {
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import type { AdapterFile } from '../backend.ts'
import { engineError } from '../engine-errors.ts'

/** `write` fills a folder of a temporary name with synced files; then it gets its name. Throws FOLDER_EXISTS. */
export function writeFolder(folder: string, write: (temporary: string) => void): readonly AdapterFile[] {
  if (existsSync(folder)) {
    throw engineError('FOLDER_EXISTS', `${folder} exists already; an adapter is saved to a new folder`)
  }
  const temporary = `${folder}.${randomUUID()}.tmp`
  mkdirSync(temporary, { recursive: true })
  try {
    write(temporary)
    const files = filesOf(temporary)
    sync(temporary)
    renameSync(temporary, folder)
    sync(dirname(folder))
    return files
  } catch (error) {
    rmSync(temporary, { recursive: true, force: true })
    throw error
  }
}

function filesOf(folder: string): AdapterFile[] {
  const names = readdirSync(folder).sort()
  return names.map((name) => {
    const bytes = readFileSync(join(folder, name))
    return { name, bytes: bytes.length, sha256: createHash('sha256').update(bytes).digest('hex') }
  })
}

/** Makes the names in a folder durable. */
function sync(folder: string): void {
  const descriptor = openSync(folder, 'r')
  try {
    fsyncSync(descriptor)
  } finally {
    closeSync(descriptor)
  }
}
