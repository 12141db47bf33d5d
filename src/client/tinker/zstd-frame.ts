// A zstd frame (RFC 8878) of raw and repeated blocks: the encoding that a server may ask for, without a compressor. Web
// platforms have none and Node only from 22.15 on; who wants smaller bodies passes one (`zstd` of the connection's options).

const MAGIC = 0xfd2fb528
/** One segment, whose size is given in four bytes. */
const DESCRIPTOR = 0b1010_0000
const BLOCK = 2 ** 17
const RAW = 0
const REPEATED = 1
/** Runs shorter than this are not worth a block of their own. */
const LONG_RUN = 64

export function zstdFrame(bytes: Uint8Array): Uint8Array {
  const blocks = blocksOf(bytes)
  const size = blocks.reduce((sum, { kind, end, start }) => sum + 3 + (kind === RAW ? end - start : 1), 9)
  const frame = new Uint8Array(size)
  const view = new DataView(frame.buffer)
  view.setUint32(0, MAGIC, true)
  view.setUint8(4, DESCRIPTOR)
  view.setUint32(5, bytes.length, true)
  let at = 9
  for (const [index, { kind, start, end }] of blocks.entries()) {
    const isLast = index === blocks.length - 1 ? 1 : 0
    const header = isLast | (kind << 1) | ((end - start) << 3)
    view.setUint16(at, header & 0xffff, true)
    view.setUint8(at + 2, header >> 16)
    const content = bytes.subarray(start, kind === RAW ? end : start + 1)
    frame.set(content, at + 3)
    at += 3 + content.length
  }
  return frame
}

interface Block {
  readonly kind: typeof RAW | typeof REPEATED
  readonly start: number
  readonly end: number
}

function blocksOf(bytes: Uint8Array): Block[] {
  const blocks: Block[] = []
  let raw = 0
  let at = 0
  const flush = (end: number) => {
    for (; raw < end; raw = Math.min(raw + BLOCK, end))
      blocks.push({ kind: RAW, start: raw, end: Math.min(raw + BLOCK, end) })
  }
  while (at < bytes.length) {
    let end = at + 1
    while (end < bytes.length && end - at < BLOCK && bytes[end] === bytes[at]) end++
    if (end - at >= LONG_RUN) {
      flush(at)
      blocks.push({ kind: REPEATED, start: at, end })
      raw = end
    }
    at = end
  }
  flush(bytes.length)
  return blocks.length > 0 ? blocks : [{ kind: RAW, start: 0, end: 0 }]
}
