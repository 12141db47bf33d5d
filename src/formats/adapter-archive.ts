/**
 * An adapter out of a tar archive, as Tinker's archives and PEFT users' folders are packed. Archives come from strangers:
 * only the files of an adapter are taken, by their last name, so that no entry can choose where it is written; links,
 * devices and whatever else a tar can hold are passed over; sizes are counted while they stream.
 */
import { createWriteStream } from 'node:fs'
import * as path from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { extract } from 'tar-stream'
import { corrupt } from './format-error.ts'

/** What an adapter's folder holds. */
export const ADAPTER_FILES = ['adapter_config.json', 'adapter_model.safetensors']
/** Entries that are looked at, wanted or not. */
const MOST_ENTRIES = 10_000

/**
 * Unpacks into an existing folder. `name` is what errors call the archive; `maxBytes` limits what is written. Throws
 * FormatError for what is no tar archive, holds no adapter or more than one, or is too large.
 */
export async function unpackAdapter(
  name: string,
  archive: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  folder: string,
  maxBytes: number,
): Promise<void> {
  const found = new Set<string>()
  let left = maxBytes
  let entries = 0
  const tar = extract()
  const reading = pipeline(Readable.from(archive, { objectMode: false }), tar)
  // What goes wrong is thrown by the loop below, or awaited after it.
  reading.catch(() => {})
  try {
    for await (const entry of tar) {
      const { name: full, type, size } = entry.header
      const file = path.posix.basename(full)
      if (++entries > MOST_ENTRIES) throw corrupt(name, `holds more than ${MOST_ENTRIES} entries`)
      if (type !== 'file' || !ADAPTER_FILES.includes(file)) {
        entry.resume()
        continue
      }
      if (found.has(file)) throw corrupt(name, `holds more than one ${file}; pack one adapter`)
      left -= size ?? 0
      if (left < 0) throw corrupt(name, `holds more than ${maxBytes} bytes of adapter files`)
      found.add(file)
      await pipeline(entry, createWriteStream(path.join(folder, file), { flags: 'wx' }))
    }
    await reading
  } catch (error) {
    if (error instanceof Error && error.name === 'FormatError') throw error
    throw corrupt(name, `is no whole tar archive (${(error as Error).message})`, error)
  }
  const lacking = ADAPTER_FILES.find((file) => !found.has(file))
  if (lacking) throw corrupt(name, `holds no ${lacking}`)
}
