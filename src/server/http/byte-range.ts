// The Range header of a download (RFC 9110): one range of bytes. Several ranges at once are answered with the whole, which
// the standard allows.

/** Half open: [start, end). */
export interface ByteRange {
  readonly start: number
  readonly end: number
}

/** Null: send the whole. `unsatisfiable`: there is no such byte. */
export function byteRange(header: string | undefined, size: number): ByteRange | null | 'unsatisfiable' {
  const [, first = '', last = ''] = /^bytes=(\d{0,15})-(\d{0,15})$/.exec(header ?? '') ?? []
  if (first === '' && last === '') return null
  if (first === '') {
    const count = Math.min(Number(last), size)
    return count === 0 ? 'unsatisfiable' : { start: size - count, end: size }
  }
  const start = Number(first)
  const end = last === '' ? size : Math.min(Number(last) + 1, size)
  // A range that ends before it begins is no range at all.
  if (last !== '' && Number(last) < start) return null
  return start >= size ? 'unsatisfiable' : { start, end }
}
