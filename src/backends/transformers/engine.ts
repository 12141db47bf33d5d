// The embedded engine: one base model, its adapters under training and its snapshots, on one thread. It gives every call
// its turn at its adapters and hands it to the part that knows: Trainer, Generator, optimizer, adapter files. Knows nothing
// of processes, tenants or checkpoint paths.

import { FormatError } from '../../formats/format-error.ts'
import { type ModelFiles, openModelSource } from '../../formats/model-folder.ts'
import { loadTokenizer } from '../../formats/tokenizer.ts'
import type {
  AdapterFile,
  AdapterId,
  AdapterPart,
  BackendOptions,
  ClipResult,
  Engine,
  EngineError,
  EngineFailure,
  EngineInfo,
  EngineStatus,
  GenerationEvent,
  GenerationRequest,
  GradientClip,
  LoraConfig,
  LossKind,
  ModelSource,
  OptimResult,
  OptimStep,
  Outcome,
  SnapshotId,
  TrainingItem,
  TrainingResult,
} from '../backend.ts'
import { cancelled, engineError, toFailure } from '../engine-errors.ts'
import { lossesOf } from '../losses.ts'
import { OPTIMIZER_RULES } from '../optimizer-check.ts'
import { Turns } from '../turns.ts'
import { Adapter, type AdapterWeights } from './adapter.ts'
import { readIntoAdapter, readSnapshot, writeAdapterFolder } from './adapter-files.ts'
import { Compute } from './compute.ts'
import { Generator, MAX_TOP_K } from './generator.ts'
import { MAX_COLUMNS } from './low-rank.ts'
import { clipGradient, optimizerStep } from './optimizer.ts'
import { Snapshots } from './snapshots.ts'
import { chooseThreads } from './threads.ts'
import { Trainer } from './trainer.ts'
import { graphOrder } from './training-graph.ts'
import { mappedWeights } from './weights.ts'

/** Highest rank that can be trained and sampled. */
const MAX_RANK = MAX_COLUMNS
const LOSS_KINDS: readonly LossKind[] = ['token', 'sequence', 'pair', 'entropy', 'embedding']

/**
 * Opens a model: ready when a training graph has run and the decoding graphs are there. Throws INVALID_MODEL or
 * UNSUPPORTED_MODEL.
 */
export async function openEngine(model: ModelSource, options: BackendOptions): Promise<Engine> {
  try {
    return await open(model, options)
  } catch (error) {
    if (!(error instanceof FormatError)) throw error
    throw engineError(error.code === 'NOT_SUPPORTED' ? 'UNSUPPORTED_MODEL' : 'INVALID_MODEL', error.message)
  }
}

async function open(model: ModelSource, { cacheDir, threads, log }: BackendOptions): Promise<Engine> {
  const files = openModelSource(model.path)
  const { config } = files
  const { count, reason } = chooseThreads(config.hidden, threads)
  log(`${model.name}: ${config.family}, ${config.layers} layers; threads ${count} (${reason})`)
  const tokenizer = loadTokenizer(files.tokenizerFiles(), model.path)
  const weights = mappedWeights(files, cacheDir)
  const compute = new Compute()
  const [first, later] = graphOrder(config.layers)
  const trainer = await Trainer.create(config, weights, { threads: count, compute, first })
  const generator = await Generator.create(config, weights, {
    threads: count,
    compute: compute.lane(),
    tokenizer,
    log,
  })
  trainer.warm(later).catch((error) => log(`a training graph could not be made in advance: ${error.message}`))
  return new TransformersEngine(model, files, trainer, generator)
}

class TransformersEngine implements Engine {
  readonly info: EngineInfo
  readonly closed: Promise<EngineError | null>
  readonly #files: ModelFiles
  readonly #trainer: Trainer
  readonly #generator: Generator
  readonly #adapters = new Map<AdapterId, Adapter>()
  readonly #snapshots = new Snapshots<AdapterWeights>()
  readonly #turns = new Turns()
  /** Calls of `train` under way. */
  readonly #training = new Set<AbortController>()
  #closing = false
  #settle!: (error: null) => void
  #trainedTokens = 0

  constructor(model: ModelSource, files: ModelFiles, trainer: Trainer, generator: Generator) {
    const { family, vocabulary, maxContext, eosTokenIds } = files.config
    this.#files = files
    this.#trainer = trainer
    this.#generator = generator
    this.info = {
      backend: 'transformers',
      model: model.name,
      architecture: family,
      vocabulary,
      maxContext,
      endTokens: eosTokenIds,
      losses: lossesOf(LOSS_KINDS),
      lossKinds: LOSS_KINDS,
      optimizers: OPTIMIZER_RULES,
      maxRank: MAX_RANK,
      maxTopK: Math.min(MAX_TOP_K, vocabulary),
      runtime: trainer.runtime,
    }
    this.closed = new Promise((resolve) => {
      this.#settle = resolve
    })
  }

  createAdapter(id: AdapterId, config: LoraConfig): Promise<{ parameters: number }> {
    return this.#alone(id, () => {
      if (this.#adapters.has(id)) throw engineError('ADAPTER_EXISTS', `adapter ${id} exists already`)
      if (config.rank > MAX_RANK) {
        throw engineError('INVALID_ADAPTER', `LoRA rank must be from 1 to ${MAX_RANK}, not ${config.rank}`)
      }
      const adapter = Adapter.create(this.#files.config, config)
      this.#adapters.set(id, adapter)
      return { parameters: adapter.layout.size }
    })
  }

  releaseAdapter(id: AdapterId): Promise<void> {
    return this.#alone(id, () => {
      this.#adapter(id)
      this.#adapters.delete(id)
    })
  }

  saveAdapter(id: AdapterId, folder: string, part: AdapterPart): Promise<readonly AdapterFile[]> {
    return this.#alone(id, () => writeAdapterFolder(folder, this.info.model, this.#adapter(id), part))
  }

  loadAdapter(id: AdapterId, folder: string, part: AdapterPart): Promise<void> {
    return this.#alone(id, () => readIntoAdapter(folder, this.#files.config, this.#adapter(id), part))
  }

  async *train(items: readonly TrainingItem[], signal?: AbortSignal): AsyncGenerator<Outcome<TrainingResult>> {
    this.#checkOpen()
    const end = new AbortController()
    const abort = () => end.abort()
    if (signal?.aborted) abort()
    signal?.addEventListener('abort', abort)
    this.#training.add(end)
    const turn = this.#turns.take(items.map((item) => item.adapter))
    const open = new Map(items.map((item) => [item.operation, item]))
    try {
      await Promise.race([turn.ready, aborted(end.signal)])
      for await (const outcome of this.#computed(items, end.signal)) {
        this.#checkOpen()
        const item = open.get(outcome.operation) as TrainingItem
        open.delete(outcome.operation)
        if ('result' in outcome) for (const { tokens } of item.datums) this.#trainedTokens += tokens.length
        if (![...open.values()].some(({ adapter }) => adapter === item.adapter)) turn.over(item.adapter)
        yield outcome
      }
    } finally {
      turn.allOver()
      this.#training.delete(end)
      signal?.removeEventListener('abort', abort)
    }
  }

  async *#computed(items: readonly TrainingItem[], end: AbortSignal): AsyncGenerator<Outcome<TrainingResult>> {
    const known = items.filter((item) => this.#adapters.has(item.adapter))
    for (const { operation, adapter } of items) {
      if (!this.#adapters.has(adapter)) yield { operation, error: toFailure(this.#noAdapter(adapter)) }
    }
    if (end.aborted) {
      for (const { operation } of known) yield { operation, error: toFailure(cancelled(`operation ${operation}`)) }
      return
    }
    const work = known.map((item) => ({ item, adapter: this.#adapter(item.adapter) }))
    for await (const outcome of this.#trainer.train(work, end)) {
      const { operation } = outcome
      yield 'error' in outcome ? { operation, error: plain(outcome.error) } : outcome
    }
  }

  optimStep(steps: readonly OptimStep[]): Promise<readonly Outcome<OptimResult>[]> {
    return this.#each(steps, optimizerStep)
  }

  clipGradients(clips: readonly GradientClip[]): Promise<readonly Outcome<ClipResult>[]> {
    return this.#each(clips, clipGradient)
  }

  discardGradients(id: AdapterId): Promise<void> {
    return this.#alone(id, () => this.#adapter(id).dropGradient())
  }

  publish(id: AdapterId): Promise<SnapshotId> {
    return this.#alone(id, () => this.#snapshots.hold(this.#adapter(id).freeze()))
  }

  async loadSnapshot(folder: string): Promise<SnapshotId> {
    this.#checkOpen()
    return this.#snapshots.hold(readSnapshot(folder, this.#files.config, MAX_RANK))
  }

  async releaseSnapshot(id: SnapshotId): Promise<void> {
    this.#checkOpen()
    if (this.#snapshots.release(id)) this.#generator.forget(id)
  }

  async *generate(request: GenerationRequest, signal?: AbortSignal): AsyncGenerator<GenerationEvent> {
    this.#checkOpen()
    const snapshot = request.snapshot === null ? null : this.#snapshots.get(request.snapshot)
    yield* this.#generator.add(request, snapshot, signal)
  }

  async status(): Promise<EngineStatus> {
    this.#checkOpen()
    return {
      rssBytes: process.memoryUsage.rss(),
      adapters: this.#adapters.size,
      snapshots: this.#snapshots.size,
      sampling: this.#generator.active,
      prefixBytes: this.#generator.prefixBytes,
      trainedTokens: this.#trainedTokens,
      sampledTokens: this.#generator.sampledTokens,
    }
  }

  async close(): Promise<void> {
    if (!this.#closing) {
      this.#closing = true
      for (const call of this.#training) call.abort()
      await this.#generator.close()
      await this.#trainer.close()
      this.#settle(null)
    }
    await this.closed
  }

  /** The same of several adapters, each in its turn and whatever becomes of the others. */
  #each<T extends { readonly operation: string; readonly adapter: AdapterId }, R>(
    requests: readonly T[],
    work: (adapter: Adapter, request: T) => R,
  ): Promise<readonly Outcome<R>[]> {
    return Promise.all(
      requests.map(async (request) => {
        const { operation, adapter } = request
        try {
          return { operation, result: await this.#alone(adapter, () => work(this.#adapter(adapter), request)) }
        } catch (error) {
          return { operation, error: toFailure(error) }
        }
      }),
    )
  }

  /** Work on one adapter, in its turn. */
  async #alone<T>(id: AdapterId, work: () => T): Promise<T> {
    this.#checkOpen()
    return this.#turns.run(id, () => {
      this.#checkOpen()
      return work()
    })
  }

  #adapter(id: AdapterId): Adapter {
    const adapter = this.#adapters.get(id)
    if (!adapter) throw this.#noAdapter(id)
    return adapter
  }

  #noAdapter(id: AdapterId): EngineError {
    return engineError('ADAPTER_NOT_FOUND', `no adapter ${id} in this engine`)
  }

  #checkOpen(): void {
    if (this.#closing) throw engineError('ENGINE_CLOSED', 'the engine was closed')
  }
}

/** A failure as data: an error's message would be lost on its way to another process. */
const plain = ({ category, code, message }: EngineFailure): EngineFailure => ({ category, code, message })

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve()
    else signal.addEventListener('abort', () => resolve(), { once: true })
  })
}
