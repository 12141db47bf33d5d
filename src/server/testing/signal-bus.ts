// Signals between members of one process, for tests of what servers do that share a database. Members read through one
// SQLite connection, so whoever hears a signal reads behind the transaction that sent it.

import type { Listener, Signals, Topic } from '../store/signals.ts'

interface Member {
  readonly listeners: [Topic, Listener<never>][]
  readonly gaps: (() => void)[]
}

export class SignalBus {
  readonly #members: Member[] = []
  /** Signals are lost while this is false. */
  isUp = true

  join(): Signals {
    const own: Member = { listeners: [], gaps: [] }
    this.#members.push(own)
    return {
      isShared: true,
      send: async (_, topic, fact) => {
        if (!this.isUp) return
        for (const member of this.#members) {
          for (const [of, listener] of member.listeners) if (of === topic) listener(fact as never, member === own)
        }
      },
      on: (topic, listener) => void own.listeners.push([topic, listener as Listener<never>]),
      onGap: (listener) => void own.gaps.push(listener),
      close: async () => {},
    }
  }

  /** The connection is back: what was sent meanwhile was lost. */
  mend(): void {
    this.isUp = true
    for (const { gaps } of this.#members) for (const tell of gaps) tell()
  }
}
