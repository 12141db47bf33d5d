// A server in this process, behind the client's `fetch`: tests say what each operation answers and see what was asked.

import { tinker_public as pb } from '../../../generated/tinker-proto.js'
import { ServiceClient, type ServiceOptions } from '../service-client.ts'

export interface Asked {
  readonly path: string
  readonly headers: Headers
  /** The JSON body; for forward_backward the decoded message. */
  readonly body: Readonly<Record<string, unknown>>
  readonly text: string
}

/** An answer: JSON with status 200, or a whole response. Undefined: what the fake answers by itself. */
export type Responder = (asked: Asked) => unknown | Promise<unknown>

export class FakeServer {
  readonly asked: Asked[] = []
  readonly #responders = new Map<string, Responder>()
  #requests = 0

  /** `path` without /api/v1/. */
  on(path: string, responder: Responder): this {
    this.#responders.set(path, responder)
    return this
  }

  /** Bodies of the requests to one path, in their order. */
  bodies(path: string): Readonly<Record<string, unknown>>[] {
    return this.asked.filter((asked) => asked.path === path).map(({ body }) => body)
  }

  client(options: ServiceOptions = {}): ServiceClient {
    const access = { baseUrl: 'http://fake/', apiKey: 'tml-test', onMessage: () => {} }
    return new ServiceClient({ ...access, ...options, fetch: this.fetch })
  }

  readonly fetch = async (url: string, init: RequestInit): Promise<Response> => {
    const asked = read(url, init)
    this.asked.push(asked)
    const custom = await this.#responders.get(asked.path)?.(asked)
    const answer = custom === undefined ? this.#standard(asked) : custom
    return answer instanceof Response ? answer : Response.json(answer)
  }

  #standard({ path, body }: Asked): unknown {
    if (path === 'client/config') return { parallel_fwdbwd_chunks: true, fwdbwd_max_chunk_len: 2 }
    if (path === 'client/dynamic_config') return {}
    if (path === 'create_session') return { session_id: 's1' }
    if (path === 'create_sampling_session') return { sampling_session_id: 's1:sample:0' }
    if (path === 'get_info')
      return { model_id: body.model_id, model_data: { model_name: 'org/m', tokenizer_id: 'org/m' } }
    if (path === 'retrieve_future') return standardResult(String(body.request_id))
    if (path === 'asample') return { request_id: this.#request('sample'), sample_sequence_ids: ['q0'] }
    return { request_id: this.#request(path) }
  }

  #request(path: string): string {
    return `${path}#${this.#requests++}`
  }
}

function standardResult(id: string): unknown {
  if (id.startsWith('create_model')) return { model_id: 's1:train:0' }
  if (id.startsWith('forward_backward')) return trainingOutput([[-1]], { 'loss:sum': 1 })
  if (id.startsWith('sample'))
    return protobuf(pb.SampleResponse.encode({ sequences: [{ tokens: ints([5]) }] }).finish())
  if (id.startsWith('save_weights_for_sampler')) return { sampling_session_id: 's1:sample:1' }
  return { metrics: { 'grad_norm:mean': 1 } }
}

/** A forward_backward result with one [N] tensor of log-probabilities a datum. */
export function trainingOutput(logprobs: number[][], metrics: Record<string, number>): Response {
  const offsets = [0]
  for (const row of logprobs) offsets.push(offsets.at(-1)! + row.length * 4)
  const field = {
    data: new Uint8Array(Float32Array.from(logprobs.flat()).buffer),
    offsets: new Uint8Array(BigInt64Array.from(offsets, BigInt).buffer),
    dtype: pb.DType.DTYPE_FLOAT32,
  }
  const record = { type_tag: 'T', fields: { logprobs: field }, num_datums: logprobs.length }
  const message = { loss_fn_output_type: 'T', loss_fn_outputs: [record], metrics }
  return protobuf(pb.ForwardBackwardOutput.encode(message).finish())
}

export function protobuf(bytes: Uint8Array): Response {
  return new Response(bytes as Uint8Array<ArrayBuffer>, { headers: { 'content-type': 'application/x-protobuf' } })
}

export function failure(status: number, headers: Record<string, string> = {}): Response {
  return Response.json({ detail: `status ${status}`, code: 'TEST' }, { status, headers })
}

function ints(values: number[]): Uint8Array {
  return new Uint8Array(Int32Array.from(values).buffer)
}

function read(url: string, init: RequestInit): Asked {
  const path = url.replace('http://fake/', '').replace('api/v1/', '')
  const headers = new Headers(init.headers)
  if (init.body instanceof Uint8Array) {
    const message = pb.ForwardBackwardRequest.decode(init.body)
    return { path, headers, body: message as unknown as Asked['body'], text: '' }
  }
  const text = typeof init.body === 'string' ? init.body : ''
  return { path, headers, body: text === '' ? {} : JSON.parse(text), text }
}
