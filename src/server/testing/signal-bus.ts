// Signals between members of one process, for tests of what servers do that share a database. Members read through one
// SQLite connection, so whoever hears a signal reads behind the transaction that sent it.

import type { Signals, Topic } from '../store/signals.ts'

type Listener = (text: string) => void

export class SignalBus {
  readonly #members: { listeners: Map<Topic, Listener[]>; gaps: (() => void)[] }[] = []
  /** Signals are lost while this is false. */
  isUp = true

  join(): Signals {
    const own = { listeners: new Map<Topic, Listener[]>(), gaps: [] as (() => void)[] }
    this.#members.push(own)
    return {
      send: async (_, topic, text) => {
        if (!this.isUp) return
        for (const { listeners } of this.#members.filter((member) => member !== own)) {
          for (const listener of listeners.get(topic) ?? []) listener(text)
        }
      },
      on: (topic, listener) => void own.listeners.set(topic, [...(own.listeners.get(topic) ?? []), listener]),
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
