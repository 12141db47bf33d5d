// Samples for many requests at once (continuous batching): a sequence joins the batch when its prompt is prefilled and
// leaves when it is over, at any step. Prompts are prefilled one at a time in order of arrival, in chunks of 64 tokens from
// position 0, and chunks take turns with decoding steps, so a long prompt holds nobody up and another request's company is
// never visible in a result. The fixed grid also lets a prompt start where the prefix cache ends, with the same bits.
// Knows no tokenizer but the bytes of tokens, and no adapters but frozen snapshots.

import type { EngineError, GenerationEvent, GenerationRequest } from '../backend.ts'
import { cancelled, engineError, toEngineError } from '../engine-errors.ts'
import { EventQueue } from '../event-queue.ts'
import type { AdapterWeights } from './adapter.ts'
import type { Compute } from './compute.ts'
import { Decoder, nonFinite } from './decoder.ts'
import { type Drawn, drawTokens } from './drawing.ts'
import { checkGeneration } from './generation-check.ts'
import { bytesPerToken, capacityFor } from './kv-cache.ts'
import { type Lane, Lanes, type Member } from './lane.ts'
import { CHUNK, Prefill } from './prefill.ts'
import { PrefixCache } from './prefix-cache.ts'
import type { SamplingModel } from './sampling-graph.ts'
import { reportedTemperature, Sequence, type TokenBytes } from './sequence.ts'
import { SnapshotCheck } from './snapshot-check.ts'
import { firstWave, longest, type Wave } from './wave.ts'
import type { Weights } from './weights.ts'

export interface GeneratorOptions {
  readonly threads: number
  readonly compute: Compute
  readonly tokenizer: TokenBytes
  readonly log: (line: string) => void
  /** Memory for keys and values. Requests beyond it wait; one alone is always served. */
  readonly kvBudgetBytes?: number
  /** Memory for keys and values of prompts' beginnings, which later prompts may share. */
  readonly prefixBudgetBytes?: number
}

/** Sequences that decode at once, and most of them that start together: half, so that no wave waits for all to end. */
const MAX_ROWS = 64
const MAX_WAVE = 32
/** Most best tokens that a request may ask to see for each position. */
export const MAX_TOP_K = 128
const DEFAULT_KV_BUDGET_BYTES = 2 * 2 ** 30
const DEFAULT_PREFIX_BUDGET_BYTES = 2 ** 29

export class Generator {
  readonly #decoder: Decoder
  readonly #tokenizer: TokenBytes
  readonly #budget: number
  readonly #lanes: Lanes
  readonly #prefixes: PrefixCache
  readonly #waiting: Wave[] = []
  #prefill: Prefill | null = null
  #loop: Promise<void> | null = null
  #closed = false
  #sampledTokens = 0
  readonly #snapshots = new SnapshotCheck()

  private constructor(decoder: Decoder, options: GeneratorOptions) {
    this.#decoder = decoder
    this.#tokenizer = options.tokenizer
    this.#budget = options.kvBudgetBytes ?? DEFAULT_KV_BUDGET_BYTES
    this.#prefixes = new PrefixCache(options.prefixBudgetBytes ?? DEFAULT_PREFIX_BUDGET_BYTES)
    this.#lanes = new Lanes(decoder.config)
  }

  static async create(config: SamplingModel, weights: Weights, options: GeneratorOptions): Promise<Generator> {
    const started = performance.now()
    const generator = new Generator(await Decoder.create(config, weights, options), options)
    const rows = Math.floor(generator.#budget / (1024 * bytesPerToken(config)))
    options.log(
      `sampling: graphs ready in ${Math.round(performance.now() - started)} ms; ` +
        `keys and values of ${rows} sequences of 1024 tokens fit the budget, at most ${MAX_ROWS} decode at once`,
    )
    return generator
  }

  /** Requests that are not over. */
  get active(): number {
    const jobs = this.#waves().map(({ job }) => job)
    return new Set(jobs.filter(({ events }) => !events.ended)).size
  }

  /** Bytes held for the beginnings of prompts to come. */
  get prefixBytes(): number {
    return this.#prefixes.bytes
  }

  /** A snapshot, by its hash, is gone: nothing is kept for it. */
  forget(hash: string): void {
    this.#prefixes.forget(hash)
  }

  /** Tokens drawn since the start. */
  get sampledTokens(): number {
    return this.#sampledTokens
  }

  /**
   * Events of a request; null samples the base model. Throws what `checkGeneration` throws, and NON_FINITE for a snapshot
   * that holds NaN or infinity. Stopping the iteration or aborting frees the request's rows before the next step.
   */
  add(
    request: GenerationRequest,
    snapshot: AdapterWeights | null,
    signal?: AbortSignal,
  ): AsyncIterableIterator<GenerationEvent> {
    if (this.#closed) throw engineError('ENGINE_CLOSED', 'the engine is closed; it takes no more requests')
    const { vocabulary, maxContext } = this.#decoder.config
    checkGeneration(request, { vocabulary, maxContext, maxTopK: MAX_TOP_K })
    if (snapshot) this.#snapshots.check(request, snapshot)
    const abort = () => events.fail(cancelled(`generation ${request.operation}`))
    const events = new EventQueue<GenerationEvent>(() => signal?.removeEventListener('abort', abort))
    if (signal?.aborted) {
      abort()
      return events
    }
    signal?.addEventListener('abort', abort, { once: true })
    const rows = Math.floor(this.#budget / (capacityFor(longest(request)) * bytesPerToken(this.#decoder.config)))
    this.#waiting.push(firstWave(request, snapshot, events, Math.min(MAX_WAVE, Math.max(1, rows))))
    this.#loop ??= this.#work()
    return events
  }

  /** Ends all requests with ENGINE_CLOSED and frees the sessions. */
  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    this.#failAll(engineError('ENGINE_CLOSED', 'the engine was closed'))
    await this.#loop
    await this.#decoder.close()
  }

  #failAll(error: EngineError): void {
    for (const wave of this.#waves()) wave.job.events.fail(error)
  }

  #waves(): Wave[] {
    const decoding = this.#lanes.members.map((member) => member.wave)
    return [...this.#waiting, ...(this.#prefill ? [this.#prefill.wave] : []), ...decoding]
  }

  /** Runs while there is anything to do. */
  async #work(): Promise<void> {
    // The first event of a request comes after `add` has returned.
    await Promise.resolve()
    try {
      while ((await this.#turn()) || this.#waiting.length > 0);
    } catch (error) {
      this.#failAll(toEngineError(error))
    }
    this.#sweep()
    for (const lane of this.#lanes.all) lane.cache.free()
    this.#loop = null
  }

  /** A chunk of prefill and one step of each lane. False when there was nothing to do. */
  async #turn(): Promise<boolean> {
    this.#sweep()
    let prefilled = 0
    while (prefilled < CHUNK) {
      this.#prefill ??= this.#admit()
      if (!this.#prefill) break
      prefilled += await this.#advance(this.#prefill)
    }
    const lanes = this.#lanes.all.filter((lane) => lane.members.length > 0)
    for (const lane of lanes) await this.#decode(lane)
    const worked = prefilled > 0 || lanes.length > 0
    if (!worked && this.#waiting.length > 0) throw new Error('requests wait although nothing is being sampled')
    return worked
  }

  /** Lets go of everything that belongs to requests which ended: cancelled, failed or no longer listened to. */
  #sweep(): void {
    const ended = (wave: Wave) => wave.job.events.ended
    for (const lane of this.#lanes.all) {
      for (let row = lane.members.length - 1; row >= 0; row--) {
        const { wave } = lane.members[row] as Member
        if (ended(wave)) this.#leave(lane, row)
      }
    }
    if (this.#prefill && ended(this.#prefill.wave)) this.#drop(this.#prefill)
    const kept = this.#waiting.filter((wave) => !ended(wave))
    this.#waiting.splice(0, this.#waiting.length, ...kept)
    this.#lanes.trim(this.#prefill?.lane)
  }

  /** The next wave in order, if there is room for it. */
  #admit(): Prefill | null {
    const wave = this.#waiting[0]
    if (!wave || !this.#hasRoom(wave)) return null
    const lane = this.#lanes.acquire(wave.job.snapshot)
    if (!lane) return null
    this.#waiting.shift()
    const next = wave.job.later.shift()
    if (next) this.#waiting.push(next)
    return new Prefill(wave, lane, this.#decoder.config, this.#prefixes)
  }

  /** Sequences are counted at the length they may reach, so that none that has started ever lacks memory. */
  #hasRoom(wave: Wave): boolean {
    const { members } = this.#lanes
    if (members.length === 0) return true
    const rows = members.length + wave.count
    const length = Math.max(longest(wave.job.request), ...members.map((m) => longest(m.sequence.request)))
    return rows <= MAX_ROWS && rows * capacityFor(length) * bytesPerToken(this.#decoder.config) <= this.#budget
  }

  /** Prefills the next chunk; the last one starts the sequences. Returns the tokens it took. */
  async #advance(prefill: Prefill): Promise<number> {
    const { cachedTokens, wave } = prefill
    const { events } = wave.job
    try {
      const { tokens, hidden } = await prefill.advance(this.#decoder)
      if (!prefill.isDone) return tokens
      if (cachedTokens > 0 && wave.first === 0) events.push({ type: 'prefix', cachedTokens })
      if (prefill.score) events.push(prefill.score.event())
      if (wave.count > 0) await this.#start(prefill, hidden)
      this.#drop(prefill)
      return tokens
    } catch (error) {
      events.fail(toEngineError(error))
      this.#drop(prefill)
      return CHUNK
    }
  }

  /** Draws the first token of each sequence of the wave from the prompt's last row. */
  async #start({ wave, lane, cache }: Prefill, hidden: Float32Array): Promise<void> {
    const { request, snapshot, key } = wave.job
    const sequences = Array.from(
      { length: wave.count },
      (_, i) => new Sequence(request, wave.first + i, key, this.#tokenizer),
    )
    const row = { adapter: snapshot?.hash ?? null, temperature: reportedTemperature(request) }
    const draws = sequences.map((sequence) => ({ row: 0, sequence }))
    const drawn = await drawTokens(this.#decoder, lane.stacks, hidden, [row], draws)
    sequences.forEach((sequence, i) => {
      if (!this.#take(wave, sequence, drawn[i])) lane.join({ wave, sequence }, cache)
    })
  }

  /** One token for every sequence of the lane. */
  async #decode(lane: Lane): Promise<void> {
    const members = [...lane.members]
    const adapters = members.map((m) => m.wave.job.snapshot?.hash ?? null)
    try {
      const ids = members.map((m) => m.sequence.lastToken)
      const { hidden } = await this.#decoder.body(lane.cache, lane.stacks, adapters, ids, [...members.keys()])
      const rows = members.map((m, i) => ({
        adapter: adapters[i] ?? null,
        temperature: reportedTemperature(m.sequence.request),
      }))
      const draws = members.map((m, row) => ({ row, sequence: m.sequence }))
      const drawn = await drawTokens(this.#decoder, lane.stacks, hidden, rows, draws)
      for (let row = members.length - 1; row >= 0; row--) {
        const { wave, sequence } = members[row] as Member
        if (this.#take(wave, sequence, drawn[row])) this.#leave(lane, row)
      }
    } catch (error) {
      for (const { wave } of members) wave.job.events.fail(toEngineError(error))
    }
  }

  /** Gives a sequence its token; true when the sequence is over. */
  #take(wave: Wave, sequence: Sequence, drawn: Drawn | undefined): boolean {
    const { events, request } = wave.job
    if (events.ended) return true
    if (!drawn) {
      events.fail(nonFinite(request))
      return true
    }
    this.#sampledTokens++
    const stopReason = sequence.push(drawn.row, drawn.choice)
    if (request.stream) events.push(sequence.newest())
    if (stopReason) events.push(sequence.event(stopReason))
    if (stopReason) this.#finish(wave)
    return stopReason !== null
  }

  #leave(lane: Lane, row: number): void {
    const { wave } = lane.members[row] as Member
    lane.leave(row)
    if (!lane.members.some((m) => m.wave === wave) && this.#prefill?.wave !== wave)
      lane.stacks.release(wave.job.snapshot)
  }

  /** The prompt is done with; its columns stay while sequences of the wave decode. */
  #drop(prefill: Prefill): void {
    const { wave, lane } = prefill
    this.#prefill = null
    if (!lane.members.some((m) => m.wave === wave)) lane.stacks.release(wave.job.snapshot)
    if (wave.count === 0) this.#finish(wave)
  }

  /** One sequence of the wave is over, or the wave has none. */
  #finish(wave: Wave): void {
    wave.open = Math.max(0, wave.open - 1)
    if (wave.open > 0) return
    wave.job.open--
    if (wave.job.open === 0) wave.job.events.end()
  }
}
