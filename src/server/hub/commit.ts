// The small files of one model as the hub would hold them: which of them are served, their hashes, and one commit that names
// them all. A client caches by these names, so the same files have the same names, whenever and wherever they are served.

import { createHash } from 'node:crypto'

/** What loading a tokenizer and a configuration needs; weights are never served. */
const SERVED_FILES: readonly string[] = [
  'added_tokens.json',
  'chat_template.jinja',
  'config.json',
  'generation_config.json',
  'merges.txt',
  'special_tokens_map.json',
  'tokenizer.json',
  'tokenizer.model',
  'tokenizer_config.json',
  'vocab.json',
]

interface HubFile {
  readonly bytes: Uint8Array
  /** SHA-256, 64 hexadecimal digits. */
  readonly hash: string
}

export interface Commit {
  /** 40 hexadecimal digits. */
  readonly id: string
  readonly files: ReadonlyMap<string, HubFile>
}

export function commitOf(all: Readonly<Record<string, Uint8Array>>): Commit {
  const files = new Map<string, HubFile>()
  const commit = createHash('sha256')
  for (const name of SERVED_FILES) {
    const bytes = all[name]
    if (!bytes) continue
    const hash = createHash('sha256').update(bytes).digest('hex')
    commit.update(`${name} ${hash}\n`)
    files.set(name, { bytes, hash })
  }
  return { id: commit.digest('hex').slice(0, 40), files }
}
