/**
 * The one error of this folder: a file that is missing, damaged, or of a kind that is not read here.
 * It always names the file; the message says what was found, what is accepted and what to do next.
 * It knows nothing of HTTP: the server maps the code to a status.
 */

export type FormatErrorCode = 'FILE_MISSING' | 'FILE_CORRUPT' | 'NOT_SUPPORTED'

export class FormatError extends Error {
  override readonly name = 'FormatError'
  readonly code: FormatErrorCode
  readonly file: string

  constructor(code: FormatErrorCode, file: string, sentence: string, options?: ErrorOptions) {
    super(`${file}: ${sentence}`, options)
    this.code = code
    this.file = file
  }
}

export function missing(file: string, sentence: string): FormatError {
  return new FormatError('FILE_MISSING', file, sentence)
}

export function corrupt(file: string, sentence: string, cause?: unknown): FormatError {
  return new FormatError('FILE_CORRUPT', file, sentence, cause === undefined ? undefined : { cause })
}

/** `what` is the thing that was found, `supported` the whole list of what would have been accepted. */
export function unsupported(file: string, what: string, supported: readonly string[]): FormatError {
  return new FormatError('NOT_SUPPORTED', file, `${what} is not supported; supported: ${supported.join(', ')}`)
}
