// Every refusal of the catalogue, with what it means. A refusal names the thing, says what would have been accepted and what
// to do next, and lists all of ours where a name is not known. Knows nothing of HTTP: the server maps codes to statuses.

export const CATALOGUE_ERRORS = {
  UNKNOWN_NAME: 'no entry of the catalogue has this name',
  UNSUPPORTED_NAME: 'a name that other servers know, of something that this one does not do',
  UNKNOWN_ARGUMENT: 'an argument that this entry of the catalogue does not take',
  INVALID_ARGUMENT: 'an argument of the wrong type, out of its range, or missing',
  INVALID_ROW: 'a row of data that this entry of the catalogue cannot take',
  TOO_LONG: 'more tokens, rows or bytes than are taken',
} as const

export type CatalogueErrorCode = keyof typeof CATALOGUE_ERRORS

/** What is being looked up, as sentences call it: `optimizer`, `scheduler`, `metric`, `loss`, ... */
export type CatalogueKind = string

/** Always the caller's to mend. `message` says what is wrong, `next` what to do about it, both in sentences. */
export class CatalogueError extends Error {
  override readonly name = 'CatalogueError'
  readonly code: CatalogueErrorCode
  readonly next: string

  constructor(code: CatalogueErrorCode, message: string, next: string) {
    super(message)
    this.code = code
    this.next = next
  }
}

/** @param names All of ours, in the order in which they are to be shown. */
export function unknownName(kind: CatalogueKind, name: unknown, names: readonly string[]): CatalogueError {
  return new CatalogueError('UNKNOWN_NAME', `There is no ${kind} ${quoted(name)}.`, thereAre(names))
}

/** @param reason A clause that says why not: `its state is not saved yet`. */
export function unsupportedName(
  kind: CatalogueKind,
  name: string,
  reason: string,
  names: readonly string[],
): CatalogueError {
  return new CatalogueError(
    'UNSUPPORTED_NAME',
    `The ${kind} ${quoted(name)} is not done here: ${reason}.`,
    thereAre(names),
  )
}

export function unknownArgument(
  kind: CatalogueKind,
  name: string,
  argument: string,
  known: readonly string[],
): CatalogueError {
  const next = known.length ? `It takes ${known.join(', ')}.` : 'It takes none: leave it out.'
  return new CatalogueError('UNKNOWN_ARGUMENT', `The ${kind} ${name} has no argument ${quoted(argument)}.`, next)
}

/** @param wanted What it must be: `a finite number above 0`. */
export function invalidArgument(
  kind: CatalogueKind,
  name: string,
  argument: string,
  given: unknown,
  wanted: string,
): CatalogueError {
  const message =
    given === undefined
      ? `The ${kind} ${name} needs the argument ${argument}.`
      : `The ${kind} ${name} cannot take ${argument} = ${quoted(given)}.`
  return new CatalogueError('INVALID_ARGUMENT', message, `It must be ${wanted}.`)
}

const thereAre = (names: readonly string[]) => `There ${names.length === 1 ? 'is' : 'are'}: ${names.join(', ')}.`

const MOST_SHOWN = 100
/** What a client sent, as JSON, cut to a readable length. Numbers that JSON has no word for are named. */
function quoted(value: unknown): string {
  const text = typeof value === 'number' ? String(value) : (JSON.stringify(value) ?? String(value))
  return text.length <= MOST_SHOWN ? text : `${text.slice(0, MOST_SHOWN)}...`
}
