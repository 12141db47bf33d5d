// Draws from one set of weights: a base model, a checkpoint, or a snapshot of a training run. Requests are independent of
// each other; as many as the server allows are under way at once.

import { StatusError, TinkerError } from './errors.ts'
import { wireJson } from './json.ts'
import { SAMPLING } from './retry.ts'
import { decodeSampleResponse, encodeSampleRequest } from './sampling-wire.ts'
import type { Session } from './session.ts'
import { sleep, unlessAborted } from './timing.ts'
import { loadServedTokenizer, type ServedTokenizer } from './tokenizer.ts'
import type { ModelInput, SampleRequest, SampleResponse } from './types.ts'

export interface SamplerFacts {
  readonly samplingSessionId: string
  readonly baseModel: string
  readonly tokenizerId: string
}

const PAUSE_MS = 1000
const LONG_PAUSE_MS = 5000
/** Bodies above this count as large when the server asks for less. */
const LARGE_BODY = 128 * 1024
const RESUBMIT_MS = 500

export class SamplingClient {
  readonly samplingSessionId: string
  readonly baseModel: string
  readonly #session: Session
  readonly #tokenizerId: string
  #nextSeqId = 0

  /** Made by ServiceClient and TrainingClient. */
  constructor(session: Session, facts: SamplerFacts) {
    this.#session = session
    this.samplingSessionId = facts.samplingSessionId
    this.baseModel = facts.baseModel
    this.#tokenizerId = facts.tokenizerId
  }

  sample(request: SampleRequest): Promise<SampleResponse> {
    return unlessAborted(this.#sample(request, 'SamplingClient.sample'), request.signal)
  }

  /** log p(token | tokens before) of each prompt token; null for the first. */
  async computeLogprobs(
    prompt: ModelInput,
    options: { readonly signal?: AbortSignal } = {},
  ): Promise<(number | null)[]> {
    const request = { prompt, samplingParams: { maxTokens: 1 }, includePromptLogprobs: true, ...options }
    const { promptLogprobs } = await unlessAborted(
      this.#sample(request, 'SamplingClient.compute_logprobs'),
      options.signal,
    )
    if (!promptLogprobs) throw new TinkerError('The server sent no log-probabilities of the prompt.')
    return [...promptLogprobs]
  }

  /** Text to tokens and back, as this model does it; loaded from the server once. */
  getTokenizer(): Promise<ServedTokenizer> {
    return loadServedTokenizer(this.#session.http, this.#tokenizerId)
  }

  async #sample(request: SampleRequest, method: string): Promise<SampleResponse> {
    const { samples } = await this.#session.open()
    return samples.pass(1, async () => {
      for (let attempt = 0; ; attempt++) {
        try {
          return await this.#attempt(request, method)
        } catch (error) {
          // The server has lost this request, for instance by a restart: sampling can simply be asked for again.
          if (!(error instanceof StatusError) || error.status !== 410 || attempt > 0) throw error
          await sleep(RESUBMIT_MS, request.signal)
        }
      }
    })
  }

  async #attempt(request: SampleRequest, method: string): Promise<SampleResponse> {
    const body = encodeSampleRequest(request, this.samplingSessionId, this.#nextSeqId++)
    const { request_id: id, sample_sequence_ids: sequenceIds } = await this.#submit(body, method, request.signal)
    const bytes = await this.#session.binaryResult(id, 'Sample', method, request.signal)
    return decodeSampleResponse(bytes, sequenceIds ?? [])
  }

  /** 429 means "not so many": all samplers of the session pause, then the same request is sent again. */
  async #submit(body: ReturnType<typeof encodeSampleRequest>, method: string, signal: AbortSignal | undefined) {
    const headers = { 'x-tinker-sampling-backpressure': '1' }
    for (;;) {
      if (this.#session.samplingPauseMs > 0) await sleep(this.#session.samplingPauseMs, signal)
      try {
        const call = { body, headers, method, retry: SAMPLING, ...(signal ? { signal } : {}) }
        return await this.#session.http.json('asample', call)
      } catch (error) {
        if (!(error instanceof StatusError) || error.status !== 429) throw error
        this.#session.pauseSampling(wireJson(body).length > LARGE_BODY ? LONG_PAUSE_MS : PAUSE_MS)
      }
    }
  }
}
