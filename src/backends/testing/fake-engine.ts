// A whole engine in memory for tests of whatever stands on one: the numbers of fake-model.ts, real accumulation, optimiser
// steps, snapshots and files, no ONNX and no process. Tests hold calls (`block`), break them (`failNext`, `crash`) and read
// what was asked (`calls`); methods are plain, so sinon can stub them too. Never part of a build (src/**/testing).

import { createHash } from 'node:crypto'
import type {
  AdapterFile,
  AdapterId,
  AdapterPart,
  ClipResult,
  Engine,
  EngineError,
  EngineInfo,
  EngineStatus,
  GenerationEvent,
  GenerationRequest,
  GradientClip,
  LoraConfig,
  OptimResult,
  OptimStep,
  Outcome,
  SnapshotId,
  TrainingItem,
  TrainingResult,
} from '../backend.ts'
import { checkDatums } from '../datum-check.ts'
import { engineError, toFailure } from '../engine-errors.ts'
import { lossesOf, lossOf, supports } from '../losses.ts'
import { checkClip, checkSettings, OPTIMIZER_RULES } from '../optimizer-check.ts'
import { checkGeneration } from '../transformers/generation-check.ts'
import { Turns } from '../turns.ts'
import { readFakeAdapter, readFakeWeights, writeFakeAdapter } from './fake-files.ts'
import { drawSample, inTokens, type Sample, scorePrompt } from './fake-generation.ts'
import { addTable, FakeAdapter, mapTable, norm, scoreDatum, stepped, type Table, tableToJson } from './fake-model.ts'
import { type Gate, Gates } from './gates.ts'

/**
 * Calls that can be held or broken: the engine's methods; `train` and `optimStep` pass once for each operation. `token` is
 * passed before each token that is streamed.
 */
export type FakeOp = Exclude<keyof Engine, 'info' | 'closed' | 'close'> | 'token'

export interface FakeEngineOptions {
  readonly info?: Partial<EngineInfo>
  /** For stop strings; by default a token is a character code. */
  readonly decode?: (tokens: readonly number[]) => string
  /** The first tokens of a sequence, whatever the table says; what comes after them is drawn. */
  readonly script?: (request: GenerationRequest, index: number) => readonly number[]
}

interface Held {
  readonly config: LoraConfig
  readonly adapter: FakeAdapter
}

// Taken before any test can put a fake clock in its place.
const realSetImmediate = setImmediate
const breathe = () => new Promise<void>((resolve) => realSetImmediate(resolve))

export class FakeEngine implements Engine {
  readonly info: EngineInfo
  readonly closed: Promise<EngineError | null>
  /** What was asked, in order: method name and first argument. */
  readonly calls: { readonly op: FakeOp; readonly arg: unknown }[] = []
  readonly #adapters = new Map<AdapterId, Held>()
  readonly #snapshots = new Map<SnapshotId, { table: Table; uses: number }>()
  readonly #turns = new Turns()
  readonly #gates = new Gates<FakeOp>()
  readonly #text: Required<Pick<FakeEngineOptions, 'decode' | 'script'>>
  #end: EngineError | null = null
  #settle!: (error: EngineError | null) => void
  #trainedTokens = 0
  #sampledTokens = 0
  #sampling = 0

  constructor(options: FakeEngineOptions = {}) {
    this.info = {
      backend: 'fake',
      model: 'fake/bigram',
      architecture: 'llama',
      vocabulary: 512,
      maxContext: 512,
      endTokens: [2],
      losses: lossesOf(['token']),
      lossKinds: ['token'],
      optimizers: OPTIMIZER_RULES,
      maxRank: 64,
      maxTopK: 64,
      runtime: 'fake 1',
      ...options.info,
    }
    const { decode = (tokens) => String.fromCodePoint(...tokens), script = () => [] } = options
    this.#text = { decode, script }
    this.closed = new Promise((resolve) => {
      this.#settle = resolve
    })
  }

  /** From now on calls of `op` wait; `await gate.entered`, then `gate.open()`. */
  block(op: FakeOp): Gate {
    return this.#gates.block(op)
  }
  failNext(op: FakeOp, error?: Error): void {
    this.#gates.failNext(op, error)
  }
  /** The engine dies by itself: `closed` settles with the error, waiting and later calls throw it. */
  crash(message = 'the fake engine was told to crash'): void {
    this.#finish(engineError('ENGINE_LOST', message), true)
  }

  createAdapter(id: AdapterId, config: LoraConfig): Promise<{ parameters: number }> {
    return this.#alone('createAdapter', id, () => {
      if (this.#adapters.has(id)) throw engineError('ADAPTER_EXISTS', `adapter ${id} exists already`)
      if (!(Number.isInteger(config.rank) && config.rank >= 1 && config.rank <= this.info.maxRank)) {
        throw engineError('INVALID_ADAPTER', `rank ${config.rank} is not an integer from 1 to ${this.info.maxRank}`)
      }
      this.#adapters.set(id, { config, adapter: new FakeAdapter() })
      return { parameters: config.rank * 2 * this.info.vocabulary }
    })
  }

  releaseAdapter(id: AdapterId): Promise<void> {
    return this.#alone('releaseAdapter', id, () => {
      this.#adapter(id)
      this.#adapters.delete(id)
    })
  }

  saveAdapter(id: AdapterId, folder: string, part: AdapterPart): Promise<readonly AdapterFile[]> {
    return this.#alone('saveAdapter', id, () => {
      const { adapter, config } = this.#adapter(id)
      return writeFakeAdapter(folder, config, adapter, part)
    })
  }

  loadAdapter(id: AdapterId, folder: string, part: AdapterPart): Promise<void> {
    return this.#alone('loadAdapter', id, () => readFakeAdapter(folder, this.#adapter(id).adapter, part))
  }

  async *train(items: readonly TrainingItem[], signal?: AbortSignal): AsyncIterable<Outcome<TrainingResult>> {
    const turn = this.#turns.take(items.map((item) => item.adapter))
    try {
      await turn.ready
      for (const item of items) yield await this.#outcome(item, signal)
    } finally {
      turn.allOver()
    }
  }

  async #outcome(item: TrainingItem, signal?: AbortSignal): Promise<Outcome<TrainingResult>> {
    const { operation } = item
    try {
      await breathe()
      await this.#enter('train', item, signal)
      return { operation, result: this.#train(item) }
    } catch (error) {
      if (this.#end) throw this.#end
      return { operation, error: toFailure(error) }
    }
  }

  #train(item: TrainingItem): TrainingResult {
    const { adapter } = this.#adapter(item.adapter)
    const gradient: Table | null = item.backward ? new Map() : null
    checkDatums(item.datums, item.loss, this.info)
    if (item.plan && item.plan.runtime !== this.info.runtime) {
      throw engineError('PLAN_MISMATCH', `the plan is of ${item.plan.runtime}, this is ${this.info.runtime}`)
    }
    if (!supports(this.info, item.loss)) {
      throw engineError('UNSUPPORTED_LOSS', `the fake engine computes no loss ${item.loss.name}`)
    }
    const shares = lossOf(item.loss.name).shares?.(item.datums, item.loss.config)
    const { vocabulary } = this.info
    const scored = item.datums.map((d, i) =>
      scoreDatum(vocabulary, adapter.weights, item.loss, d, gradient, shares?.[i]),
    )
    const loss = scored.reduce((sum, s) => sum + s.loss, 0)
    if (!Number.isFinite(loss)) throw engineError('NON_FINITE', `the loss of adapter ${item.adapter} is ${loss}`)
    if (gradient) adapter.gradient = addTable(adapter.gradient ?? new Map(), gradient)
    this.#trainedTokens += item.datums.reduce((sum, d) => sum + d.tokens.length, 0)
    return {
      logprobs: scored.map((s) => s.logprobs),
      ...(item.datums.every(({ mask, width }) => mask && width === 1) && {
        likeliest: scored.reduce((sum, s) => sum + s.likeliest, 0),
      }),
      loss,
      plan: { version: 1, runtime: this.info.runtime, batches: [] },
    }
  }

  optimStep(steps: readonly OptimStep[]): Promise<readonly Outcome<OptimResult>[]> {
    return this.#each('optimStep', steps, (step) => this.#step(step))
  }

  clipGradients(clips: readonly GradientClip[]): Promise<readonly Outcome<ClipResult>[]> {
    return this.#each('clipGradients', clips, (clip) => this.#clip(clip))
  }

  #each<T extends OptimStep | GradientClip, R>(
    op: FakeOp,
    requests: readonly T[],
    work: (request: T) => R,
  ): Promise<readonly Outcome<R>[]> {
    return Promise.all(
      requests.map(async (request) => {
        const { operation, adapter } = request
        try {
          return { operation, result: await this.#alone(op, adapter, () => work(request), request) }
        } catch (error) {
          if (this.#end) throw this.#end
          return { operation, error: toFailure(error) }
        }
      }),
    )
  }

  #step(step: OptimStep): OptimResult {
    checkSettings(step)
    const { adapter } = this.#adapter(step.adapter)
    const { rule, gradient } = adapter
    if (!step.fresh && adapter.step > 0 && rule !== step.rule) {
      const sentence = `adapter ${step.adapter} has the state of ${rule}: ${step.rule} cannot go on with it`
      throw engineError('OPTIMIZER_MISMATCH', sentence)
    }
    if (!gradient) return { applied: false, gradientNorm: 0, step: adapter.step }
    adapter.gradient = null
    const isNew = step.fresh || rule !== step.rule
    const after = stepped(isNew ? { weights: adapter.weights, slots: {}, step: 0 } : adapter, gradient, step)
    if (!after) {
      throw engineError(
        'NON_FINITE',
        `the step would make weights of adapter ${step.adapter} non-finite; nothing changed`,
      )
    }
    Object.assign(adapter, after, { rule: step.rule })
    return { applied: true, gradientNorm: norm(gradient), step: adapter.step }
  }

  #clip(clip: GradientClip): ClipResult {
    checkClip(clip)
    const { adapter } = this.#adapter(clip.adapter)
    if (!adapter.gradient) return { applied: false, gradientNorm: 0 }
    const divided = mapTable(adapter.gradient, (g) => g / clip.divisor)
    const gradientNorm = norm(divided)
    if (!Number.isFinite(gradientNorm)) {
      throw engineError('NON_FINITE', `the gradient of adapter ${clip.adapter} has the norm ${gradientNorm}`)
    }
    const factor = clip.maxNorm === null ? 1 : Math.min(1, clip.maxNorm / (gradientNorm + 1e-6))
    adapter.gradient = mapTable(divided, (g) => g * factor)
    return { applied: true, gradientNorm }
  }

  discardGradients(id: AdapterId): Promise<void> {
    return this.#alone('discardGradients', id, () => {
      this.#adapter(id).adapter.gradient = null
    })
  }

  publish(id: AdapterId): Promise<SnapshotId> {
    return this.#alone('publish', id, () => this.#hold(this.#adapter(id).adapter.weights))
  }

  async loadSnapshot(folder: string): Promise<SnapshotId> {
    await this.#enter('loadSnapshot', folder)
    return this.#hold(readFakeWeights(folder))
  }

  async releaseSnapshot(id: SnapshotId): Promise<void> {
    await this.#enter('releaseSnapshot', id)
    const snapshot = this.#snapshot(id)
    snapshot.uses -= 1
    if (!snapshot.uses) this.#snapshots.delete(id)
  }

  async *generate(request: GenerationRequest, signal?: AbortSignal): AsyncIterable<GenerationEvent> {
    this.#sampling += 1
    try {
      await this.#enter('generate', request, signal)
      const table = request.snapshot === null ? undefined : this.#snapshot(request.snapshot).table
      checkGeneration(request, this.info)
      const { promptLogprobs, topkPromptLogprobs, promptTargets, promptDraws } = request
      if (promptLogprobs || topkPromptLogprobs || promptTargets || promptDraws) {
        yield scorePrompt(this.info.vocabulary, table, request)
      }
      for (let index = 0; index < request.samples; index++) {
        await breathe()
        await this.#gates.pass('generate', signal)
        if (this.#end) throw this.#end
        const sample = drawSample(this.info.vocabulary, table, request, index, this.#text)
        this.#sampledTokens += sample.tokens.length
        if (request.stream) yield* this.#oneByOne(sample, signal)
        yield sample
      }
    } finally {
      this.#sampling -= 1
    }
  }

  async *#oneByOne(sample: Sample, signal?: AbortSignal): AsyncIterable<GenerationEvent> {
    for (const event of inTokens(sample)) {
      await breathe()
      await this.#gates.pass('token', signal)
      if (this.#end) throw this.#end
      yield event
    }
  }

  async status(): Promise<EngineStatus> {
    await this.#enter('status', undefined)
    return {
      rssBytes: process.memoryUsage.rss(),
      adapters: this.#adapters.size,
      snapshots: this.#snapshots.size,
      sampling: this.#sampling,
      prefixBytes: 0,
      trainedTokens: this.#trainedTokens,
      sampledTokens: this.#sampledTokens,
    }
  }

  async close(): Promise<void> {
    this.#finish(engineError('ENGINE_CLOSED', 'the engine was closed'), false)
  }

  #finish(error: EngineError, byItself: boolean): void {
    if (this.#end) return
    this.#end = error
    this.#gates.abandon(error)
    this.#settle(byItself ? error : null)
  }

  /** Work on one adapter, in its turn. */
  #alone<T>(op: FakeOp, id: AdapterId, work: () => T, arg: unknown = id): Promise<T> {
    return this.#turns.run(id, async () => {
      await this.#enter(op, arg)
      return work()
    })
  }

  async #enter(op: FakeOp, arg: unknown, signal?: AbortSignal): Promise<void> {
    if (this.#end) throw this.#end
    this.calls.push({ op, arg })
    await this.#gates.pass(op, signal)
    if (this.#end) throw this.#end
  }

  #adapter(id: AdapterId): Held {
    const held = this.#adapters.get(id)
    if (held) return held
    throw engineError(
      'ADAPTER_NOT_FOUND',
      `no adapter ${id}; there are: ${[...this.#adapters.keys()].join(', ') || 'none'}`,
    )
  }

  #hold(table: Table): SnapshotId {
    const frozen = structuredClone(table)
    const id = createHash('sha256')
      .update(JSON.stringify(tableToJson(frozen)))
      .digest('hex')
      .slice(0, 32)
    const known = this.#snapshots.get(id) ?? { table: frozen, uses: 0 }
    known.uses += 1
    this.#snapshots.set(id, known)
    return id
  }

  #snapshot(id: SnapshotId): { table: Table; uses: number } {
    const snapshot = this.#snapshots.get(id)
    if (!snapshot) throw engineError('SNAPSHOT_NOT_FOUND', `no snapshot ${id}`)
    return snapshot
  }
}
