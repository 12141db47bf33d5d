// Sampling on a server: from a base model, or from saved weights of either kind. Rows come back with what was drawn, ready to
// be trained on.

import type { components } from '../../generated/twinkle.ts'
import { shaped } from './answers.ts'
import type { CallOptions, Connection } from './connection.ts'
import { ConnectionError, TwinkleError, UnexpectedAnswerError } from './errors.ts'
import type { LoraConfig, Row } from './model.ts'
import { baseName, type Kwargs, snakeKeys } from './names.ts'
import { plain } from './plain.ts'

type Schemas = components['schemas']
export type Sample = Schemas['TwinkleSample']

export interface SamplingParams {
  /** 0: the prompt is scored and nothing is drawn. Null: as many as there is room for. */
  readonly maxTokens?: number | null
  /** A whole number; beyond 2^53 as text. */
  readonly seed?: number | string
  readonly stop?: string | readonly string[] | readonly number[]
  readonly temperature?: number
  readonly topK?: number
  readonly topP?: number
  readonly logprobs?: number
  readonly promptLogprobs?: number
  readonly numSamples?: number
  readonly [parameter: string]: unknown
}

export interface SampleOptions extends CallOptions {
  readonly adapterName?: string
  /** Path of saved weights; else the adapter's, or the base model. */
  readonly adapterUri?: string
  readonly numSamples?: number
}

export interface SampleDelta {
  readonly delta: string
  readonly finishReason: string | null
}

export class VllmSampler {
  readonly modelId: string
  readonly #connection: Connection
  readonly #params: { readonly path: { readonly base: string } }

  constructor(modelId: string, connection: Connection) {
    this.modelId = modelId
    this.#params = { path: { base: baseName(modelId) } }
    this.#connection = connection
  }

  async setTemplate(templateCls: string, kwargs: Kwargs = {}, options: SampleOptions = {}): Promise<void> {
    const body = { template_cls: templateCls, adapter_name: options.adapterName ?? '', ...snakeKeys(kwargs) }
    await this.#connection.send(
      (api, signal) =>
        api.POST('/api/v1/sampler/{base}/twinkle/set_template', { params: this.#params, body, ...at(signal) }),
      { ...options, isSafe: true },
    )
  }

  async addAdapterToSampler(adapterName: string, config: LoraConfig, options: CallOptions = {}): Promise<string> {
    const body = { adapter_name: adapterName, config: plain(config, 'config') as Schemas['LoraConfigForm'] }
    const added = await this.#connection.send(
      (api, signal) =>
        api.POST('/api/v1/sampler/{base}/twinkle/add_adapter_to_sampler', {
          params: this.#params,
          body,
          ...at(signal),
        }),
      { ...options, isSafe: true },
    )
    return added.adapter_name
  }

  /** A sample for each input. */
  async sample(
    inputs: Row | readonly Row[],
    samplingParams: SamplingParams = {},
    options: SampleOptions = {},
  ): Promise<readonly Sample[]> {
    const body = this.#body(inputs, samplingParams, options)
    const answer = await this.#connection.send(
      (api, signal) => api.POST('/api/v1/sampler/{base}/twinkle/sample', { params: this.#params, body, ...at(signal) }),
      // Without a seed a repetition draws anew, which nobody can tell from the first.
      { ...options, isSafe: true },
    )
    const { samples } = shaped('sample', answer, { samples: 'array' })
    return samples as readonly Sample[]
  }

  /** One input's text as it is drawn. */
  async *sampleStream(
    input: Row,
    samplingParams: SamplingParams = {},
    options: SampleOptions = {},
  ): AsyncIterable<SampleDelta> {
    const body = this.#body(input, samplingParams, options)
    const stream = await this.#connection.send(
      (api, signal) =>
        api.POST('/api/v1/sampler/{base}/twinkle/sample_stream', {
          params: this.#params,
          body,
          parseAs: 'stream',
          ...at(signal),
        }),
      { ...options, isSafe: true },
    )
    if (!stream) throw noLines()
    try {
      for await (const line of linesOf(stream as ReadableStream<Uint8Array>)) yield deltaOf(line)
    } catch (cause) {
      if (options.signal?.aborted) throw options.signal.reason
      if (cause instanceof TwinkleError) throw cause
      throw new ConnectionError('The connection broke while text was drawn. Next: ask again; nothing has changed.', {
        cause,
      })
    }
  }

  #body(inputs: Row | readonly Row[], samplingParams: SamplingParams, options: SampleOptions) {
    return {
      inputs: plain(inputs, 'inputs') as Schemas['TwinkleSampleRequest']['inputs'],
      sampling_params: snakeKeys(samplingParams),
      adapter_name: options.adapterName ?? '',
      adapter_uri: options.adapterUri ?? null,
      ...(options.numSamples === undefined ? {} : { num_samples: options.numSamples }),
    }
  }
}

async function* linesOf(stream: ReadableStream<Uint8Array>): AsyncIterable<string> {
  const reader = stream.getReader()
  const decoder = new TextDecoder()
  let rest = ''
  try {
    for (;;) {
      const { done, value } = await reader.read()
      if (done) break
      const lines = (rest + decoder.decode(value, { stream: true })).split('\n')
      rest = lines.pop() ?? ''
      yield* lines.filter((line) => line !== '')
    }
  } finally {
    // Whoever stops listening lets the server stop drawing.
    await reader.cancel().catch(() => {})
  }
  if (rest !== '') yield rest
}

function deltaOf(line: string): SampleDelta {
  const { delta, finish_reason: finishReason, error } = objectOf(line)
  if (error !== undefined) throw new UnexpectedAnswerError(`The server stopped drawing: ${JSON.stringify(error)}`)
  return { delta: String(delta ?? ''), finishReason: typeof finishReason === 'string' ? finishReason : null }
}

function objectOf(line: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(line)
    if (typeof value === 'object' && value !== null) return value as Record<string, unknown>
  } catch {
    // Said below.
  }
  throw noLines()
}

const noLines = () =>
  new UnexpectedAnswerError(
    'The answer is no stream of samples. Next: check the base URL: this may be no Twinkle server.',
  )

const at = (signal: AbortSignal | undefined) => (signal ? { signal } : {})
