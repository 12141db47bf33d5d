// A client that can say anything: HTTP as it is, with what a script needs around it (session, model, poll). For tests of what
// no SDK would send. It knows paths and media types of the Tinker protocol; it checks and hides nothing.

import { tinker_public } from '../../src/generated/tinker-proto.js'

const { ForwardBackwardRequest } = tinker_public
export const JSON_TYPE = 'application/json'
export const PROTOBUF = 'application/x-protobuf'

export interface Answer {
  readonly status: number
  readonly body: Record<string, unknown>
}

/** How a request went wrong, wherever it was said: at the door (4xx) or through its future. */
export interface Refusal {
  readonly status: number
  readonly category: string
  readonly message: string
}

export class RawClient {
  readonly #url: string
  readonly #key: string

  constructor(url: string, key: string) {
    this.#url = url
    this.#key = key
  }

  async post(operation: string, body: unknown, headers: Record<string, string> = {}): Promise<Answer> {
    const payload = typeof body === 'string' || body instanceof Uint8Array ? body : JSON.stringify(body)
    const response = await fetch(`${this.#url}/api/v1/${operation}`, {
      method: 'POST',
      headers: { 'x-api-key': this.#key, 'content-type': JSON_TYPE, ...headers },
      body: payload as NonNullable<RequestInit['body']>,
    })
    const text = await response.text()
    return { status: response.status, body: text ? JSON.parse(text) : {} }
  }

  /** Submits, waits for the future if there is one, and gives the refusal; throws when the request was carried out. */
  async refusal(operation: string, body: unknown, headers?: Record<string, string>): Promise<Refusal> {
    const submitted = await this.post(operation, body, headers)
    if (submitted.status >= 400) {
      return { status: submitted.status, category: 'user', message: String(submitted.body.detail) }
    }
    const { status, body: result } = await this.result(String(submitted.body.request_id))
    if (!('error' in result)) throw new Error(`${operation} was accepted: ${JSON.stringify(result).slice(0, 300)}`)
    return { status, category: String(result.category), message: String(result.error) }
  }

  /** One poll. */
  async poll(requestId: string): Promise<Answer> {
    return this.post('retrieve_future', { request_id: requestId }, { accept: JSON_TYPE })
  }

  /** Polls until there is a result, as clients do. */
  async result(requestId: string): Promise<Answer> {
    for (;;) {
      const answer = await this.poll(requestId)
      if (answer.status !== 408) return answer
    }
  }

  async session(): Promise<string> {
    const { body } = await this.post('create_session', { tags: [], user_metadata: {}, sdk_version: '0.38.0' })
    return String(body.session_id)
  }

  async model(baseModel: string, session?: string): Promise<RawModel> {
    const session_id = session ?? (await this.session())
    const body = { session_id, model_seq_id: 0, base_model: baseModel, lora_config: { rank: 4, seed: 1 } }
    const submitted = await this.post('create_model', body)
    const { body: created } = await this.result(String(submitted.body.request_id))
    if (!created.model_id) throw new Error(`no model: ${JSON.stringify({ submitted, created })}`)
    return new RawModel(this, String(created.model_id))
  }
}

/** A model under training, with the next sequence number. */
export class RawModel {
  /** Another one after the server was restarted elsewhere. */
  client: RawClient
  readonly id: string
  #seq = 0

  constructor(client: RawClient, id: string) {
    this.client = client
    this.id = id
  }

  /** The next number; a refused request has used one up too. */
  next(): { model_id: string; seq_id: number } {
    this.#seq += 1
    return { model_id: this.id, seq_id: this.#seq }
  }

  trainBytes(datum: tinker_public.IDatum, lossName = 'cross_entropy'): Uint8Array {
    return ForwardBackwardRequest.encode({ ...this.next(), data: [datum], loss_fn: lossName }).finish()
  }

  refusedTraining(datum: tinker_public.IDatum, lossName?: string): Promise<Refusal> {
    return this.client.refusal('forward_backward', this.trainBytes(datum, lossName), { 'content-type': PROTOBUF })
  }

  /** One step of training, submitted but not awaited: the ids of its two requests. */
  async submitStep(tokens: readonly number[]): Promise<string[]> {
    const bytes = this.trainBytes(datum(tokens.slice(0, -1), { target_tokens: int64(tokens.slice(1)) }))
    const adam_params = { learning_rate: 0.01, beta1: 0.9, beta2: 0.95, eps: 1e-12, weight_decay: 0, grad_clip_norm: 0 }
    const passed = await this.client.post('forward_backward', bytes, { 'content-type': PROTOBUF })
    const stepped = await this.client.post('optim_step', { ...this.next(), adam_params })
    return [passed, stepped].map(({ body }) => String(body.request_id))
  }

  /** Throws with what the server said when it refuses. */
  async train(datum: tinker_public.IDatum): Promise<{ loss: number; outputs: unknown[] }> {
    const bytes = this.trainBytes(datum)
    const submitted = await this.client.post('forward_backward', bytes, { 'content-type': PROTOBUF })
    const isTaken = submitted.status < 400
    const { body } = isTaken ? await this.client.result(String(submitted.body.request_id)) : submitted
    const loss = (body.metrics as Record<string, number> | undefined)?.['loss:sum']
    if (loss === undefined) throw new Error(`a good request was refused: ${JSON.stringify(body)}`)
    return { loss, outputs: body.loss_fn_outputs as unknown[] }
  }

  /** loss:sum of a good datum. */
  async loss(): Promise<number> {
    return (await this.train(datum([20, 21, 22], { target_tokens: int64([21, 22, 23]) }))).loss
  }
}

export function datum(tokens: readonly number[], inputs: Record<string, tinker_public.ITensor>): tinker_public.IDatum {
  return { model_input: [{ encoded_text: { tokens: raw(Int32Array.from(tokens)) } }], loss_fn_inputs: inputs }
}

export function int64(values: readonly number[]): tinker_public.ITensor {
  return { dense: raw(BigInt64Array.from(values.map(BigInt))), dtype: 2, shape: [values.length] }
}

export function float32(values: readonly number[]): tinker_public.ITensor {
  return { dense: raw(Float32Array.from(values)), dtype: 1, shape: [values.length] }
}

const raw = (array: { buffer: ArrayBufferLike }) => new Uint8Array(array.buffer)
