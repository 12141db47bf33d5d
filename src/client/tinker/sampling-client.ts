// Draws from one set of weights: a base model, a checkpoint, or a snapshot of a training run. Requests are independent of
// each other; as many as the server allows are under way at once.

import { type ClientConfig, Connection, type ConnectionOptions } from './connection.ts'
import { StatusError, TinkerError, UnexpectedAnswerError } from './errors.ts'
import { ApiFuture } from './future.ts'
import { FuturesPoller } from './futures-poller.ts'
import { chunkBytes, type ModelInput } from './model-input.ts'
import { INNER_ONLY, SAMPLING } from './retry.ts'
import { type RetryOptions, SampleRetry } from './sample-retry.ts'
import { decodeHandle, encodeHandle } from './sampler-handle.ts'
import { decodeSampleResponse, encodeSampleRequest } from './sampling-wire.ts'
import { type Pending, Session } from './session.ts'
import { unlessAborted } from './timing.ts'
import { loadTokenizer, type ServedTokenizer } from './tokenizer.ts'
import type { SampleRequest, SampleResponse } from './types.ts'

export interface SamplingOptions {
  readonly retry?: RetryOptions
  /** The server keeps what the loss `stable_reinforce` needs of these samples; false. */
  readonly recordStabilityInfo?: boolean
}

export type SamplerSource = { readonly baseModel: string } | { readonly modelPath: string }

export interface SamplerFacts {
  readonly samplingSessionId: string
  readonly baseModel: string
  readonly tokenizerId?: string
  /** Whether this is a copy of a client of another process. */
  readonly isCopy?: boolean
}

/** Each client of a sampling session has so many numbers for its requests. */
const NUMBERS_PER_CLIENT = 1_000_000_000n
const BYTES_PER_TOKEN = 10

/** Begins a sampling session. Throws TinkerError for a path that is none. */
export async function createSampler(
  session: Session,
  source: SamplerSource,
  method: string,
  options: SamplingOptions,
): Promise<SamplingClient> {
  if ('modelPath' in source && !/^(tinker|twinkle):\/\//.test(source.modelPath)) {
    throw new TinkerError(`modelPath ${JSON.stringify(source.modelPath)} does not begin with tinker://.`)
  }
  const { id } = await session.open()
  const { sampling_session_id: samplingSessionId } = await session.http.json('createSamplingSession', {
    body: {
      session_id: id,
      sampling_session_seq_id: session.nextSampler(),
      ...('baseModel' in source ? { base_model: source.baseModel } : { model_path: source.modelPath }),
      type: 'create_sampling_session',
    },
    method,
    retry: INNER_ONLY,
  })
  const path = { sampler_id: samplingSessionId }
  const baseModel =
    'baseModel' in source ? source.baseModel : (await session.http.json('getSampler', { path, method })).base_model
  return new SamplingClient(session, { samplingSessionId, baseModel }, options)
}

export class SamplingClient {
  readonly samplingSessionId: string
  readonly baseModel: string
  readonly #session: Session
  readonly #options: SamplingOptions
  readonly #tokenizerId: string | undefined
  readonly #isCopy: boolean
  #retry: SampleRetry | undefined
  #numbers: Promise<{ readonly clone: bigint; next: bigint }> | undefined
  #poller: FuturesPoller | undefined

  /** Made by ServiceClient and TrainingClient. */
  constructor(session: Session, facts: SamplerFacts, options: SamplingOptions = {}) {
    this.#session = session
    this.#options = options
    this.samplingSessionId = facts.samplingSessionId
    this.baseModel = facts.baseModel
    this.#tokenizerId = facts.tokenizerId
    this.#isCopy = facts.isCopy ?? false
  }

  /** A client for the sampler of a client elsewhere. `apiKey` and the like are this process's own. */
  static fromSamplerHandle(handle: string, options: ConnectionOptions & SamplingOptions = {}): SamplingClient {
    const { holder, ...state } = decodeHandle(handle)
    const headers = { ...holder.default_headers_overrides, ...options.headers }
    const connection = new Connection({ baseUrl: holder.base_url, ...options, headers })
    connection.adopt(holder.client_config, holder.client_dynamic_config)
    const session = new Session(connection, {}, state.session_id)
    const facts = { samplingSessionId: state.sampling_session_id, baseModel: state.base_model, isCopy: true }
    return new SamplingClient(session, facts, { recordStabilityInfo: state.record_stability_info, ...options })
  }

  /** Completions of a prompt, with what else was asked for. Aborting its signal tells the server to stop. */
  sample(request: SampleRequest): ApiFuture<SampleResponse> {
    return this.#future(request, 'SamplingClient.sample', true)
  }

  /** log p(token | tokens before) of each prompt token; null for the first, and for those not asked for. */
  computeLogprobs(
    prompt: ModelInput,
    options: { readonly promptLogprobsLastN?: number; readonly signal?: AbortSignal } = {},
  ): ApiFuture<(number | null)[]> {
    const request = { prompt, samplingParams: { maxTokens: 1 }, includePromptLogprobs: true, ...options }
    const future = this.#future(request, 'SamplingClient.compute_logprobs', false)
    const logprobs = future.then(({ promptLogprobs }) => {
      if (promptLogprobs) return [...promptLogprobs]
      throw new UnexpectedAnswerError('The server sent no log-probabilities of the prompt.')
    })
    return new ApiFuture(future.submitted, logprobs)
  }

  /** Asks nothing. */
  getBaseModel(): string {
    return this.baseModel
  }

  /** Text to tokens and back, as this model does it; loaded once. */
  getTokenizer(): Promise<ServedTokenizer> {
    return loadTokenizer(this.#session.http, this.baseModel, this.#tokenizerId)
  }

  /** This sampler as text, for `fromSamplerHandle` in any process, here or in Python. It carries no key. */
  async getSamplerHandle(): Promise<string> {
    const { id, config } = await this.#session.open()
    const { http, dynamic } = this.#session.connection
    return encodeHandle({
      session_id: id,
      sampling_session_id: this.samplingSessionId,
      holder: {
        base_url: http.baseUrl,
        default_headers_overrides: http.headers,
        client_config: config,
        client_dynamic_config: dynamic,
        api_key: null,
      },
      base_model: this.baseModel,
      record_stability_info: this.#options.recordStabilityInfo ?? false,
    })
  }

  /** Ends what this client does by itself, for one that was made from a handle; the sampler stays. */
  close(): Promise<void> {
    return this.#isCopy ? this.#session.close('success') : Promise.resolve()
  }

  #future(request: SampleRequest, method: string, obeysFlag: boolean): ApiFuture<SampleResponse> {
    let acknowledge = () => {}
    const acknowledged = new Promise<void>((resolve) => {
      acknowledge = resolve
    })
    const result = this.#draw(request, method, obeysFlag, acknowledge)
    const submitted = Promise.race([acknowledged, result])
    return new ApiFuture(submitted, unlessAborted(this.#session.watch(result), request.signal))
  }

  async #draw(request: SampleRequest, method: string, obeysFlag: boolean, acknowledge: () => void) {
    const { config } = await this.#session.open()
    // The flag that switches repetition off is about sample() alone.
    const mayRetry = !(obeysFlag && config.sample_no_retries)
    this.#retry ??= new SampleRetry(this.#options.retry ?? {}, limitsOf(config))
    const once = (signal: AbortSignal) => this.#attempt(request, method, signal, acknowledge)
    return mayRetry ? this.#retry.run(once, request.signal) : once(request.signal ?? new AbortController().signal)
  }

  async #attempt(request: SampleRequest, method: string, signal: AbortSignal, acknowledge: () => void) {
    signal.throwIfAborted()
    const { id, roundtripMs, sequenceIds } = await this.#submit(request, method, signal)
    acknowledge()
    try {
      const pending: Pending = { requestId: id, type: 'Sample', method, signal, roundtripMs }
      return decodeSampleResponse(await this.#result(pending), sequenceIds, request)
    } catch (error) {
      if (signal.aborted) this.#session.cancel(id)
      throw error
    }
  }

  async #result(pending: Pending): Promise<Uint8Array> {
    const { config } = await this.#session.open()
    if (!config.sample_use_retrieve_futures) return this.#session.binaryResult(pending)
    const { clone } = await this.#ownNumbers(pending.method)
    this.#poller ??= new FuturesPoller(this.#session.http, this.samplingSessionId, Number(clone))
    const announcedBytes = await this.#poller.done(pending.requestId, pending.signal)
    try {
      return await this.#session.binaryResult({ ...pending, announcedBytes })
    } finally {
      if (!pending.signal?.aborted) this.#poller.fetched(pending.requestId)
    }
  }

  /** 429 means "not so many": all samplers of the session pause, then the same request is sent again. */
  async #submit(request: SampleRequest, method: string, signal: AbortSignal) {
    const numbers = await this.#ownNumbers(method)
    const { dispatch } = await this.#session.open()
    const { samplingSessionId } = this
    const recordStabilityInfo = this.#options.recordStabilityInfo ?? false
    const body = encodeSampleRequest(request, { samplingSessionId, seqId: numbers.next, recordStabilityInfo })
    numbers.next++
    const bytes = request.prompt.chunks.reduce((sum, chunk) => sum + chunkBytes(chunk, BYTES_PER_TOKEN), 0)
    const headers = { 'x-tinker-sampling-backpressure': '1' }
    const start = Date.now()
    return dispatch.pass(bytes, async () => {
      for (;;) {
        await dispatch.resumed(signal)
        try {
          const call = { body, headers, method, retry: SAMPLING, signal }
          const answer = await this.#session.http.json('asample', call)
          const sequenceIds = answer.sample_sequence_ids ?? undefined
          return { id: answer.request_id, sequenceIds, roundtripMs: Date.now() - start }
        } catch (error) {
          if (!(error instanceof StatusError) || error.status !== 429) throw error
          dispatch.backOff(bytes)
        }
      }
    })
  }

  /** The first client of a session counts from 0; copies get a range from the server, or draw one that nobody else has. */
  #ownNumbers(method: string): Promise<{ readonly clone: bigint; next: bigint }> {
    this.#numbers ??= this.#join(method).then((clone) => ({ clone, next: clone * NUMBERS_PER_CLIENT }))
    this.#numbers.catch(() => {
      this.#numbers = undefined
    })
    return this.#numbers
  }

  async #join(method: string): Promise<bigint> {
    if (!this.#isCopy) return 0n
    const { config } = await this.#session.open()
    if (!config.sample_join_sampling_session) {
      const [random] = crypto.getRandomValues(new BigUint64Array(1))
      return (random! % NUMBERS_PER_CLIENT) + 1n
    }
    const body = { sampling_session_id: this.samplingSessionId, type: 'join_sampling_session' }
    return BigInt((await this.#session.http.json('joinSamplingSession', { body, method })).client_counter)
  }
}

function limitsOf(config: ClientConfig) {
  return {
    detectsStuck: config.sample_enable_stuck_detection ?? true,
    mostAtOnce: config.sample_use_retrieve_futures ? null : (config.sample_max_concurrent_requests ?? 2000),
  }
}
