// What an error of the catalogue is made of. The table is in errors.ts; families of it may stand in files of their own.

export type ErrorCategory = 'user' | 'server'

export interface ErrorKind {
  /** Never 409: the SDK retries it for five minutes, whatever it means. */
  readonly status: number
  readonly category: ErrorCategory
  readonly message: string
  readonly next: string
}

/** The caller's to mend. */
export const user = <const M extends string, const N extends string>(status: number, message: M, next: N) =>
  ({ status, category: 'user', message, next }) as const

/** Not the caller's fault. */
export const server = <const M extends string, const N extends string>(status: number, message: M, next: N) =>
  ({ status, category: 'server', message, next }) as const
