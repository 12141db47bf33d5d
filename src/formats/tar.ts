// A tar archive (POSIX ustar) as a list of pieces: headers and padding as bytes, contents by name. Nothing is read here, so
// the size of an archive and any part of it are known before it is sent. Written: plain files. Nothing else.

export interface TarEntry {
  /** Up to 100 bytes of ASCII. */
  readonly name: string
  readonly bytes: number
}

/** Bytes as they are, or the content of an entry. */
export type TarPiece<E extends TarEntry> = Uint8Array | E

const BLOCK = 512

/**
 * @param seconds Time of the files since 1970: the same one gives the same bytes.
 */
export function tarPieces<E extends TarEntry>(entries: readonly E[], seconds: number): TarPiece<E>[] {
  const pieces: TarPiece<E>[] = []
  for (const entry of entries) {
    pieces.push(header(entry, seconds))
    if (entry.bytes > 0) pieces.push(entry)
    const rest = entry.bytes % BLOCK
    if (rest > 0) pieces.push(new Uint8Array(BLOCK - rest))
  }
  pieces.push(new Uint8Array(2 * BLOCK))
  return pieces
}

function header({ name, bytes }: TarEntry, seconds: number): Uint8Array {
  const block = new Uint8Array(BLOCK)
  const put = (at: number, text: string) => new TextEncoder().encodeInto(text, block.subarray(at))
  const octal = (at: number, digits: number, value: number) => put(at, value.toString(8).padStart(digits, '0'))
  if (name.length > 100) throw new Error(`the name ${name} is too long for a tar archive`)
  put(0, name)
  octal(100, 7, 0o644)
  octal(108, 7, 0)
  octal(116, 7, 0)
  putSize(block, bytes)
  octal(136, 11, seconds)
  put(156, '0')
  put(257, 'ustar\0')
  put(263, '00')
  // The checksum counts its own field as spaces.
  put(148, '        ')
  octal(
    148,
    6,
    block.reduce((sum, byte) => sum + byte, 0),
  )
  block[154] = 0
  return block
}

/** Eleven octal digits hold 8 GiB; larger sizes are binary with the top bit set, which every reader of today knows. */
function putSize(block: Uint8Array, bytes: number): void {
  if (bytes < 8 ** 11) {
    new TextEncoder().encodeInto(bytes.toString(8).padStart(11, '0'), block.subarray(124))
    return
  }
  block[124] = 0x80
  new DataView(block.buffer).setBigUint64(128, BigInt(bytes))
}
