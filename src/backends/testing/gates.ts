// Lets a test hold, watch and break the calls of a fake: nothing here sleeps or polls.

import { cancelled, engineError } from '../engine-errors.ts'

export interface Gate {
  /** Settles when the first call has arrived at the gate and waits there. */
  readonly entered: Promise<void>
  /** How many calls wait now. */
  readonly waiting: number
  /** Lets all through, now and later. */
  open(): void
  /** Makes those that wait throw `error`, and lets later ones through. */
  fail(error: Error): void
}

interface Waiter {
  resolve(): void
  reject(error: Error): void
}

export class Gates<Name extends string> {
  readonly #gates = new Map<Name, { waiters: Set<Waiter>; enter: () => void }>()
  readonly #failures = new Map<Name, Error[]>()

  /** From now on calls of `name` wait until the gate is opened. */
  block(name: Name): Gate {
    const waiters = new Set<Waiter>()
    let enter = () => {}
    const entered = new Promise<void>((resolve) => {
      enter = resolve
    })
    this.#gates.set(name, { waiters, enter })
    const leave = (settle: (waiter: Waiter) => void) => {
      if (this.#gates.get(name)?.waiters === waiters) this.#gates.delete(name)
      for (const waiter of waiters) settle(waiter)
      waiters.clear()
    }
    return {
      entered,
      get waiting() {
        return waiters.size
      },
      open: () => leave((waiter) => waiter.resolve()),
      fail: (error) => leave((waiter) => waiter.reject(error)),
    }
  }

  /** The next call of `name` throws `error`; called twice, the next two do. */
  failNext(name: Name, error: Error = engineError('INTERNAL', `the test made ${name} fail`)): void {
    this.#failures.set(name, [...(this.#failures.get(name) ?? []), error])
  }

  /** Where the fake's methods pass: throws what the test ordered, or waits at a closed gate; an abort ends the wait. */
  async pass(name: Name, signal?: AbortSignal): Promise<void> {
    const failure = this.#failures.get(name)?.shift()
    if (failure) throw failure
    const gate = this.#gates.get(name)
    if (gate) await this.#wait(name, gate, signal)
    if (signal?.aborted) throw cancelled(name)
  }

  #wait(name: Name, gate: { waiters: Set<Waiter>; enter: () => void }, signal?: AbortSignal): Promise<void> {
    return new Promise<void>((resolve, reject) => {
      const abort = () => {
        gate.waiters.delete(waiter)
        reject(cancelled(name))
      }
      const settled = (settle: () => void) => {
        signal?.removeEventListener('abort', abort)
        settle()
      }
      const waiter: Waiter = {
        resolve: () => settled(resolve),
        reject: (error) => settled(() => reject(error)),
      }
      if (signal?.aborted) return reject(cancelled(name))
      signal?.addEventListener('abort', abort)
      gate.waiters.add(waiter)
      gate.enter()
    })
  }

  /** Everyone who waits anywhere throws `error`. */
  abandon(error: Error): void {
    for (const { waiters } of this.#gates.values()) {
      for (const waiter of waiters) waiter.reject(error)
      waiters.clear()
    }
  }
}
