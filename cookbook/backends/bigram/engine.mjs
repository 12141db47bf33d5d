// The interface of a backend, method by method: an engine holds adapters and snapshots by their ids, and gives each method
// its turn. Methods on one adapter take effect in the order of the calls; those on different ones do not wait for each other.
// The mathematics is in model.mjs, training.mjs, optimizer.mjs and sampling.mjs.

import {
  cancelled,
  checkGeneration,
  EngineError,
  EventQueue,
  engineError,
  lossesOf,
  OPTIMIZER_RULES,
  Snapshots,
  Turns,
  toFailure,
} from 'twinkle-ts/backends'
import { Adapter, freshWeights } from './adapter.mjs'
import { loadAdapter, readWeights, saveAdapter } from './adapter-files.mjs'
import { BigramModel } from './model.mjs'
import { clipGradient, takeStep } from './optimizer.mjs'
import { generationSteps } from './sampling.mjs'
import { trainingSteps } from './training.mjs'
import { breathe, TurnTaking } from './turn-taking.mjs'

/**
 * @typedef {import('twinkle-ts/backends').AdapterPart} AdapterPart
 * @typedef {import('twinkle-ts/backends').Engine} Engine
 * @typedef {import('twinkle-ts/backends').EngineInfo} EngineInfo
 * @typedef {import('twinkle-ts/backends').GenerationRequest} GenerationRequest
 * @typedef {import('twinkle-ts/backends').GradientClip} GradientClip
 * @typedef {import('twinkle-ts/backends').LoraConfig} LoraConfig
 * @typedef {import('twinkle-ts/backends').OptimStep} OptimStep
 * @typedef {import('twinkle-ts/backends').TrainingItem} TrainingItem
 * @typedef {import('twinkle-ts/backends').TrainingResult} TrainingResult
 */

/** @type {readonly import('twinkle-ts/backends').LossKind[]} */
const LOSS_KINDS = ['token', 'sequence', 'pair', 'entropy']
/** Raised whenever the same request gives other bits than before; Math.exp is the runtime's. */
const VERSION = 1

/** @param {import('twinkle-ts/backends').ModelSource} source @returns {Engine} */
export const openEngine = ({ name, path }) => new BigramEngine(name, new BigramModel(path))

/** @implements {Engine} */
class BigramEngine {
  #model
  /** @type {Map<string, Adapter>} */
  #adapters = new Map()
  /** @type {Snapshots<import('./adapter.mjs').Weights>} */
  #snapshots = new Snapshots()
  #turns = new Turns()
  #training = new TurnTaking()
  #sampling = 0
  #trainedTokens = 0
  #sampledTokens = 0
  /** @type {EngineError | null} */
  #end = null
  /** @type {(error: EngineError | null) => void} */
  #settle = () => {}

  /** @param {string} name @param {BigramModel} model */
  constructor(name, model) {
    const { vocabulary, maxContext, endTokens } = model
    this.#model = model
    /** @type {EngineInfo} */
    this.info = {
      backend: 'bigram',
      model: name,
      architecture: 'bigram',
      vocabulary,
      maxContext,
      endTokens,
      losses: lossesOf(LOSS_KINDS),
      lossKinds: LOSS_KINDS,
      optimizers: OPTIMIZER_RULES,
      maxRank: 64,
      maxTopK: 64,
      runtime: `bigram ${VERSION}, v8 ${process.versions.v8}`,
    }
    /** @type {Promise<EngineError | null>} */
    this.closed = new Promise((resolve) => {
      this.#settle = resolve
    })
  }

  /** @param {string} id @param {LoraConfig} config */
  createAdapter(id, { rank, alpha, seed, trainUnembed }) {
    return this.#inTurn(id, () => {
      if (this.#adapters.has(id)) throw engineError('ADAPTER_EXISTS', `adapter ${id} exists already`)
      if (!(Number.isInteger(rank) && rank >= 1 && rank <= this.info.maxRank)) {
        throw engineError('INVALID_ADAPTER', `rank ${rank} must be a whole number from 1 to ${this.info.maxRank}`)
      }
      if (!trainUnembed) {
        throw engineError(
          'INVALID_ADAPTER',
          'a bigram model is its unembedding and nothing else; set train_unembed to true',
        )
      }
      const weights = freshWeights(this.info.vocabulary, rank, alpha, seed)
      this.#adapters.set(id, new Adapter(weights))
      return { parameters: weights.params.length }
    })
  }

  /** @param {string} id */
  releaseAdapter(id) {
    return this.#inTurn(id, () => {
      this.#adapter(id)
      this.#adapters.delete(id)
    })
  }

  /** @param {string} id @param {string} folder @param {AdapterPart} part */
  saveAdapter(id, folder, part) {
    return this.#inTurn(id, () => saveAdapter(folder, this.info.model, this.#adapter(id), part))
  }

  /** @param {string} id @param {string} folder @param {AdapterPart} part */
  loadAdapter(id, folder, part) {
    return this.#inTurn(id, () => loadAdapter(folder, this.#adapter(id), part))
  }

  /** @param {readonly TrainingItem[]} items @param {AbortSignal} [signal] */
  async *train(items, signal) {
    this.#refuseWhenClosed()
    const stop = new AbortController()
    const both = signal ? AbortSignal.any([signal, stop.signal]) : stop.signal
    /** @type {EventQueue<import('twinkle-ts/backends').Outcome<TrainingResult>>} */
    const outcomes = new EventQueue()
    const turn = this.#turns.take(items.map(({ adapter }) => adapter))
    await turn.ready
    const work = Promise.all(
      items.map(async (item) => outcomes.push(await this.#outcome(item, () => this.#train(item, both)))),
    )
    const done = work
      .then(
        () => outcomes.end(),
        (error) => outcomes.fail(error),
      )
      .then(() => turn.allOver())
    try {
      yield* outcomes
    } finally {
      // Whoever stops listening wants no more; the adapters are free when what was begun is over.
      stop.abort()
      await done
    }
  }

  /** @param {TrainingItem} item @param {AbortSignal} signal @returns {Promise<TrainingResult>} */
  async #train(item, signal) {
    const { operation, adapter, share = { party: `adapter ${adapter}`, weight: 1 } } = item
    const steps = trainingSteps(this.#model, this.info, this.#adapter(adapter), item)
    const result = await this.#training.run(steps, { what: `operation ${operation}`, flow: adapter, share, signal })
    this.#trainedTokens += item.datums.reduce((sum, { tokens }) => sum + tokens.length, 0)
    return result
  }

  /** @param {readonly OptimStep[]} steps */
  optimStep(steps) {
    return this.#each(steps, takeStep)
  }

  /** @param {readonly GradientClip[]} clips */
  clipGradients(clips) {
    return this.#each(clips, clipGradient)
  }

  /** @param {string} id */
  discardGradients(id) {
    return this.#inTurn(id, () => {
      this.#adapter(id).gradient = null
    })
  }

  /** @param {string} id */
  publish(id) {
    return this.#inTurn(id, () => this.#snapshots.hold(this.#adapter(id).weights))
  }

  /** @param {string} folder */
  async loadSnapshot(folder) {
    this.#refuseWhenClosed()
    return this.#snapshots.hold(readWeights(folder, this.info.vocabulary, this.info.maxRank))
  }

  /** @param {string} id */
  async releaseSnapshot(id) {
    this.#refuseWhenClosed()
    this.#snapshots.release(id)
  }

  /** @param {GenerationRequest} request @param {AbortSignal} [signal] */
  async *generate(request, signal) {
    this.#refuseWhenClosed()
    this.#sampling += 1
    try {
      const weights = request.snapshot === null ? null : this.#snapshots.get(request.snapshot)
      checkGeneration(request, this.info)
      const steps = generationSteps(this.#model, weights, request)
      while (true) {
        await breathe()
        this.#refuseWhenClosed()
        if (signal?.aborted) throw cancelled(`generation ${request.operation}`)
        const { done, value: event } = steps.next()
        if (done) return
        if (event?.type === 'sample') this.#sampledTokens += event.tokens.length
        if (event) yield event
      }
    } finally {
      this.#sampling -= 1
    }
  }

  async status() {
    this.#refuseWhenClosed()
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

  async close() {
    this.#end ??= engineError('ENGINE_CLOSED', `the engine of ${this.info.model} was closed`)
    this.#training.end(this.#end)
    this.#settle(null)
  }

  /**
   * Work on one adapter, when everything asked for earlier is over.
   * @template T
   * @param {string} id
   * @param {() => T} work
   */
  async #inTurn(id, work) {
    return this.#turns.run(id, () => {
      this.#refuseWhenClosed()
      return work()
    })
  }

  /**
   * Requests on several adapters, each with an outcome of its own.
   * @template {{ operation: string, adapter: string }} Request
   * @template Result
   * @param {readonly Request[]} requests
   * @param {(adapter: Adapter, request: Request) => Result} work
   */
  #each(requests, work) {
    return Promise.all(
      requests.map((request) =>
        this.#outcome(request, () =>
          this.#inTurn(request.adapter, () => work(this.#adapter(request.adapter), request)),
        ),
      ),
    )
  }

  /**
   * The failure of one operation is its outcome; only the end of the engine is everybody's.
   * @template T
   * @param {{ operation: string }} request
   * @param {() => Promise<T>} work
   * @returns {Promise<import('twinkle-ts/backends').Outcome<T>>}
   */
  async #outcome({ operation }, work) {
    try {
      return { operation, result: await work() }
    } catch (error) {
      this.#refuseWhenClosed()
      return { operation, error: toFailure(error) }
    }
  }

  #refuseWhenClosed() {
    if (this.#end) throw this.#end
  }

  /** @param {string} id */
  #adapter(id) {
    const adapter = this.#adapters.get(id)
    if (adapter) return adapter
    const others = [...this.#adapters.keys()].join(', ') || 'none'
    throw engineError('ADAPTER_NOT_FOUND', `no adapter ${id}; there are: ${others}`)
  }
}
