// What can go wrong for a caller of this client: a wrong argument, no connection, an answer with an error status, or an
// operation that the server accepted and could not carry out.

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

/** An answer with an error status. */
export class StatusError extends TinkerError {
  override readonly name = 'StatusError'
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
