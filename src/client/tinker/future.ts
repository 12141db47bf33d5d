// What a submitted operation returns: a promise of its result, which also says when the submission has been acknowledged.
// Operations can so be queued one behind the other before the first result is there.

import { TimeoutError } from './errors.ts'
import { sleep, unlessAborted } from './timing.ts'

export class ApiFuture<T> implements PromiseLike<T> {
  /** Settles when the server has acknowledged the operation: from then on it will be carried out. */
  readonly submitted: Promise<void>
  readonly #result: Promise<T>

  constructor(submitted: Promise<unknown>, result: Promise<T>) {
    this.submitted = submitted.then(() => {})
    this.#result = result
    // A failure belongs to whoever awaits this future, perhaps later than others: it must not end the process before.
    this.submitted.catch(() => {})
    result.catch(() => {})
  }

  /** The same promise, waited for at most so long. Throws TimeoutError; the operation goes on, and can be awaited again. */
  async result(options: { readonly timeoutMs?: number; readonly signal?: AbortSignal } = {}): Promise<T> {
    const { timeoutMs, signal } = options
    if (timeoutMs === undefined) return unlessAborted(this.#result, signal)
    const enough = new AbortController()
    const late = sleep(timeoutMs, enough.signal).then(() => {
      throw new TimeoutError(`There is no result after ${timeoutMs} ms; the operation goes on.`)
    })
    late.catch(() => {})
    return unlessAborted(Promise.race([this.#result, late]), signal).finally(() => enough.abort())
  }

  // biome-ignore lint/suspicious/noThenProperty: awaiting a future is what it is for
  then<A = T, B = never>(
    onDone?: ((value: T) => A | PromiseLike<A>) | null,
    onError?: ((reason: unknown) => B | PromiseLike<B>) | null,
  ): Promise<A | B> {
    return this.#result.then(onDone, onError)
  }

  catch<B = never>(onError?: ((reason: unknown) => B | PromiseLike<B>) | null): Promise<T | B> {
    return this.#result.catch(onError)
  }

  finally(onSettled?: (() => void) | null): Promise<T> {
    return this.#result.finally(onSettled)
  }
}
