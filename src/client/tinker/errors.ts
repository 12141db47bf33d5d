// What can go wrong for a caller of this client: a wrong argument, no connection, an answer that no Tinker server gives, an
// answer with an error status, or an operation that the server accepted and could not carry out. Messages name the cause and
// the next step. The classes by status have the names of the Python SDK's.

export class TinkerError extends Error {
  override readonly name: string = 'TinkerError'
}

/** No answer: refused, reset, or cut off midway. */
export class ConnectionError extends TinkerError {
  override readonly name: string = 'ConnectionError'
}

export class TimeoutError extends ConnectionError {
  override readonly name = 'TimeoutError'
}

/** An answer that is not the protocol's: the address of something else, a proxy's page, or a server of another age. */
export class UnexpectedAnswerError extends TinkerError {
  override readonly name = 'UnexpectedAnswerError'
}

/** An answer with an error status. */
export class StatusError extends TinkerError {
  override readonly name: string = 'StatusError'
  readonly status: number
  /** The server's own name of the error, such as UNKNOWN_BASE_MODEL, where it gave one. */
  readonly code: string | undefined
  readonly headers: Headers

  constructor(status: number, message: string, headers: Headers, code?: string) {
    super(message)
    this.status = status
    this.code = code
    this.headers = headers
  }
}

export class BadRequestError extends StatusError {
  override readonly name = 'BadRequestError'
}
export class AuthenticationError extends StatusError {
  override readonly name = 'AuthenticationError'
}
export class BillingError extends StatusError {
  override readonly name = 'BillingError'
}
export class PermissionDeniedError extends StatusError {
  override readonly name = 'PermissionDeniedError'
}
export class NotFoundError extends StatusError {
  override readonly name = 'NotFoundError'
}
export class ConflictError extends StatusError {
  override readonly name = 'ConflictError'
}
export class UnprocessableEntityError extends StatusError {
  override readonly name = 'UnprocessableEntityError'
}
export class RateLimitError extends StatusError {
  override readonly name = 'RateLimitError'
}
export class InternalServerError extends StatusError {
  override readonly name = 'InternalServerError'
}

const BY_STATUS: Readonly<Record<number, typeof StatusError>> = {
  400: BadRequestError,
  401: AuthenticationError,
  402: BillingError,
  403: PermissionDeniedError,
  404: NotFoundError,
  409: ConflictError,
  422: UnprocessableEntityError,
  429: RateLimitError,
}

/** The class of an error status: one of its own for those that the protocol uses, else StatusError. */
export function classOfStatus(status: number): typeof StatusError {
  return BY_STATUS[status] ?? (status >= 500 ? InternalServerError : StatusError)
}

/** The server accepted the operation and could not do it. `user`: the request cannot be done as it stands. */
export class RequestFailedError extends TinkerError {
  override readonly name = 'RequestFailedError'
  readonly requestId: string
  readonly category: 'user' | 'server' | 'unknown'

  constructor(requestId: string, category: string, message: string) {
    super(message)
    this.requestId = requestId
    this.category = category === 'user' || category === 'server' ? category : 'unknown'
  }
}

/** Whether the caller is to blame, as far as the server says: telemetry and logs rank such failures lower. */
export function isUserError(error: unknown): boolean {
  if (error instanceof RequestFailedError) return error.category === 'user'
  return error instanceof StatusError && error.status >= 400 && error.status < 500 && error.status !== 408
}
