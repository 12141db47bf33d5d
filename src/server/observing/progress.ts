// How far training runs and samplers have come since the server started: for people who look on. Kept in memory, for those
// that were used last; what must survive is in the journal.

import type { Onlooker } from '../services/onlookers.ts'
import { Rate } from './rate.ts'

/** Of runs, and of samplers. */
const MOST = 10_000

export interface RunProgress {
  readonly step: number | null
  /** By target token. */
  readonly loss: number | null
  readonly tokensPerSecond: number
}

export interface SamplerProgress {
  readonly sequences: number
  readonly tokensPerSecond: number
  /** Milliseconds since 1970. */
  readonly lastAt: number
}

interface RunNotes {
  step: number | null
  loss: number | null
  readonly rate: Rate
}

interface SamplerNotes {
  sequences: number
  lastAt: number
  readonly rate: Rate
}

export class Progress implements Onlooker {
  readonly #runs = new Map<string, RunNotes>()
  readonly #samplers = new Map<string, SamplerNotes>()

  /** A forward_backward has ended: its loss, summed over `targets` tokens. */
  trained(run: string, { loss, tokens, targets }: { loss: number; tokens: number; targets: number }): void {
    const notes = this.#run(run)
    notes.loss = targets > 0 ? loss / targets : null
    notes.rate.add(tokens, performance.now())
  }

  stepped(run: string, step: number): void {
    this.#run(run).step = step
  }

  drew(sampler: string | null, { sequences, tokens }: { sequences: number; tokens: number }): void {
    if (sampler === null) return
    const notes = touched(this.#samplers, sampler, () => ({ sequences: 0, lastAt: 0, rate: new Rate() }))
    notes.sequences += sequences
    notes.lastAt = Date.now()
    notes.rate.add(tokens, performance.now())
  }

  ofRun(run: string): RunProgress {
    const { step = null, loss = null, rate } = this.#runs.get(run) ?? {}
    return { step, loss, tokensPerSecond: rate?.perSecond(performance.now()) ?? 0 }
  }

  /** Those that drew last first. */
  samplers(): [string, SamplerProgress][] {
    const now = performance.now()
    return [...this.#samplers]
      .reverse()
      .map(([id, { sequences, lastAt, rate }]) => [id, { sequences, lastAt, tokensPerSecond: rate.perSecond(now) }])
  }

  #run(run: string): RunNotes {
    return touched(this.#runs, run, () => ({ step: null, loss: null, rate: new Rate() }))
  }
}

/** Moves the entry to the end; the first ones are those that were used longest ago. */
function touched<T>(map: Map<string, T>, key: string, make: () => T): T {
  const value = map.get(key) ?? make()
  map.delete(key)
  map.set(key, value)
  const [oldest] = map.keys()
  if (map.size > MOST && oldest !== undefined) map.delete(oldest)
  return value
}
