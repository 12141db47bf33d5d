// The order of one adapter's operations: submissions go out one after the other as they were called, each with the next
// sequence number of the protocol.

export class SubmissionQueue {
  #lastSeqId = 0
  /** Settles when the last submission so far is through. */
  #turn: Promise<unknown> = Promise.resolve()

  /**
   * Runs `submit` when its turn comes; it takes as many numbers as it needs. They are taken only then, so that a call that
   * was aborted before leaves no gap which the server would wait for. What is being sent is sent to the end.
   */
  enqueue<T>(submit: (nextSeqId: () => number) => Promise<T>, signal?: AbortSignal): Promise<T> {
    const submitted = this.#turn.then(() => {
      signal?.throwIfAborted()
      return submit(() => ++this.#lastSeqId)
    })
    this.#turn = submitted.catch(() => {})
    return submitted
  }
}
