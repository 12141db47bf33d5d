// What disks and databases say when they take nothing any more, in words that may be shown: no path, no statement. Codes are
// those of Node's file functions, of SQLite and of PostgreSQL.

const FULL = 'its disk is full'
const BROKEN = 'its disk gives errors'
const READ_ONLY = 'its disk may not be written'

const PROBLEMS: Readonly<Record<string, string>> = {
  ENOSPC: FULL,
  EDQUOT: FULL,
  EFBIG: 'a file may not become larger',
  EIO: BROKEN,
  EROFS: READ_ONLY,
  EACCES: READ_ONLY,
  EPERM: READ_ONLY,
  EMFILE: 'it has too many files open',
  ENFILE: 'it has too many files open',
  SQLITE_FULL: FULL,
  SQLITE_READONLY: READ_ONLY,
  SQLITE_BUSY: 'another process holds its database locked',
  '53100': FULL,
}

/** Null for what is no matter of storage. */
export function storageProblem(thrown: unknown): string | null {
  const { code } = (thrown ?? {}) as { code?: unknown }
  if (typeof code !== 'string') return null
  if (Object.hasOwn(PROBLEMS, code)) return PROBLEMS[code] as string
  return code.startsWith('SQLITE_IOERR') ? BROKEN : null
}
