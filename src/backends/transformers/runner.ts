// The only file that touches onnxruntime: turns a Graph into a session and runs it. Inputs are used in place, outputs are
// copies. `run` blocks this thread (onnxruntime-node computes on the caller's thread plus its pool), so engines live in a
// process of their own.

import * as ort from 'onnxruntime-node'
import type { Graph } from './onnx.ts'

export type Values = Float32Array | Float64Array | BigInt64Array | Int32Array | Uint8Array
export interface Feed {
  readonly data: Values
  readonly dims: readonly number[]
}

export interface RunnerOptions {
  readonly threads: number
  /** Folder that external initializers are relative to; no symbolic links. */
  readonly folder?: string | undefined
  /**
   * True: each session packs its own copy of every weight, matmuls are faster at few rows and their bits do not depend on
   * the number of rows (decoding). False: weights stay mapped from the file and are shared (training).
   */
  readonly prepack: boolean
  /** Pre-planned arenas: only good when shapes hardly change. */
  readonly memoryPattern?: boolean
  readonly optimization?: 'all' | 'basic'
}

const TYPE: Record<string, ort.Tensor.Type> = {
  Float32Array: 'float32',
  Float64Array: 'float64',
  BigInt64Array: 'int64',
  Int32Array: 'int32',
  Uint8Array: 'bool',
}

function toTensor({ data, dims }: Feed): ort.Tensor {
  return new ort.Tensor(TYPE[data.constructor.name] as ort.Tensor.Type, data as ort.Tensor.DataType, dims)
}

/** `onnxruntime-node 1.30.0`: part of what decides the bits of a result. */
export const RUNTIME = `onnxruntime-node ${ort.env.versions.node ?? ort.env.versions.common}`

export class Runner {
  readonly #session: ort.InferenceSession
  private constructor(session: ort.InferenceSession) {
    this.#session = session
  }

  static async create(graph: Graph, options: RunnerOptions): Promise<Runner> {
    const { threads, folder, prepack, memoryPattern = false, optimization = 'all' } = options
    const session: Record<string, string> = { 'intra_op.allow_spinning': threads > 1 ? '1' : '0' }
    if (!prepack) session.disable_prepacking = '1'
    if (folder) session.model_external_initializers_file_folder_path = folder
    const extra = { session: nest(session) }
    return new Runner(
      await ort.InferenceSession.create(graph.build(), {
        executionProviders: ['cpu'],
        intraOpNumThreads: threads,
        interOpNumThreads: 1,
        executionMode: 'sequential',
        graphOptimizationLevel: optimization,
        enableMemPattern: memoryPattern,
        logSeverityLevel: 3,
        extra,
      }),
    )
  }

  /** Values of the outputs by name. Throws what onnxruntime throws. */
  async run(feeds: Readonly<Record<string, Feed>>): Promise<Record<string, Values>> {
    const tensors: Record<string, ort.Tensor> = {}
    for (const [name, feed] of Object.entries(feeds)) tensors[name] = toTensor(feed)
    const results = await this.#session.run(tensors)
    const values: Record<string, Values> = {}
    for (const [name, tensor] of Object.entries(results)) values[name] = tensor.data as Values
    return values
  }

  async release(): Promise<void> {
    await this.#session.release()
  }
}

/** onnxruntime's JavaScript layer nests configuration keys at the dots: `a.b` becomes `{ a: { b } }`. */
function nest(keys: Record<string, string>): Record<string, unknown> {
  const out: Record<string, unknown> = {}
  for (const [key, value] of Object.entries(keys)) {
    const [head, ...rest] = key.split('.') as [string, ...string[]]
    out[head] = rest.length ? { ...(out[head] as object), ...nest({ [rest.join('.')]: value }) } : value
  }
  return out
}
