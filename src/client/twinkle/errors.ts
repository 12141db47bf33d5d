// What can go wrong between this client and a Twinkle server. Every message says what happened and what to do next.

export class TwinkleError extends Error {
  override readonly name: string = 'TwinkleError'
}

/** The server could not be reached, or the connection broke. `wasSent`: it may have done what was asked all the same. */
export class ConnectionError extends TwinkleError {
  override readonly name = 'ConnectionError'
}

/** The server refused: its own sentence, and the code of its catalogue where it has one. */
export class StatusError extends TwinkleError {
  override readonly name: string = 'StatusError'
  readonly status: number
  readonly code: string | undefined
  constructor(status: number, message: string, code?: string) {
    super(message)
    this.status = status
    this.code = code
  }
}

/** 401 and 403. */
export class AuthenticationError extends StatusError {
  override readonly name = 'AuthenticationError'
}

/** 404: a thing that is not there. */
export class NotFoundError extends StatusError {
  override readonly name = 'NotFoundError'
}

/** 404 of a route: the server is older than it, or is none of Twinkle's. */
export class MissingRouteError extends StatusError {
  override readonly name = 'MissingRouteError'
}

/** What came back is not what this operation answers. */
export class UnexpectedAnswerError extends TwinkleError {
  override readonly name = 'UnexpectedAnswerError'
}
