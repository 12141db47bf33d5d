// What is asked of asample, and answered, about every place of a prompt: the tensor of token ids to be scored, dense or
// compressed by rows, and the draws. Knows the two tensors in both encodings; what a place of a prompt is, others know.

import type { Schemas } from '../../generated/operations.ts'
import { tinker_public } from '../../generated/tinker-proto.js'
import type { SampleReply, TargetTensor } from '../calls.ts'
import { serviceError } from '../errors.ts'
import { int64Bytes, rawBytes, readFloat32, readInt64 } from './bytes.ts'

const { DType } = tinker_public

type Scores = NonNullable<SampleReply['promptTargets']>
type AltTokens = NonNullable<SampleReply['promptAltTokens']>
type ProtoTensor = tinker_public.Tensor.$Properties

const FIELD = 'target_prompt_logprobs'
const refuse = (value: string, expected: string) =>
  serviceError('INVALID_SAMPLING', { field: FIELD, value: `a tensor ${value}`, expected })

/** `tensor` has passed its validator. Throws INVALID_SAMPLING. */
export function targetsOfJson(tensor: Schemas['TensorData'], promptLength: number): TargetTensor {
  const { dtype, data, shape } = tensor
  const rows = promptLength - 1
  if (dtype !== 'int64') throw refuse(`of dtype ${dtype}`, 'token ids of dtype int64')
  const columns = shape?.[1]
  if (shape?.length !== 2 || shape[0] !== rows || columns === undefined || columns < 1) {
    throw refuse(
      `of shape [${shape?.slice(0, 8) ?? ''}]`,
      `of shape [${rows}, K], one row less than the prompt has tokens`,
    )
  }
  const bad = data.find((id) => !Number.isInteger(id) || id < -1 || id > 2 ** 31 - 1)
  if (bad !== undefined) throw refuse(`with the id ${bad}`, 'token ids, or -1 where nothing is asked')
  if (!data.some((id) => id >= 0)) throw refuse('that asks for no token', 'a tensor with at least one token id')
  return { shape: [rows, columns], ids: data, ...layoutOf(tensor, rows, columns) }
}

function layoutOf(tensor: Schemas['TensorData'], rows: number, columns: number): Pick<TargetTensor, 'sparse'> {
  const { data, sparse_crow_indices: starts, sparse_col_indices: places } = tensor
  if (!starts && !places) {
    if (data.length === rows * columns) return {}
    throw refuse(`of ${data.length} cells`, `${rows * columns} cells, as its shape [${rows}, ${columns}] says`)
  }
  const isRising = starts?.every((start, row) => row === 0 || start >= (starts[row - 1] as number))
  if (starts?.length !== rows + 1 || starts[0] !== 0 || starts[rows] !== data.length || !isRising) {
    throw refuse(`with ${starts?.length ?? 0} row starts`, `${rows + 1} rising row starts, from 0 to ${data.length}`)
  }
  if (places?.length !== data.length || places.some((column) => column >= columns)) {
    throw refuse(
      `with ${places?.length ?? 0} columns`,
      `a column from 0 to ${columns - 1} for each of ${data.length} cells`,
    )
  }
  return { sparse: { starts, columns: places } }
}

/** The ids that are asked, by rows, as engines want them. */
export function askedTargets({ shape: [rows, width], ids, sparse }: TargetTensor) {
  const starts = new Int32Array(rows + 1)
  const asked: number[] = []
  for (let row = 0; row < rows; row++) {
    const [from, to] = sparse ? [sparse.starts[row], sparse.starts[row + 1]] : [row * width, (row + 1) * width]
    for (let cell = from as number; cell < (to as number); cell++) {
      if ((ids[cell] as number) >= 0) asked.push(ids[cell] as number)
    }
    starts[row + 1] = asked.length
  }
  return { starts, ids: Int32Array.from(asked) }
}

/** The engine's scores in the layout of the question. */
export function laidOut({ ids, ...layout }: TargetTensor, logprobs: Float32Array): Scores {
  let next = 0
  return { ...layout, logprobs: Float32Array.from(ids, (id) => (id < 0 ? 0 : (logprobs[next++] as number))) }
}

export function encodeTargets({ shape, sparse, logprobs }: Scores): ProtoTensor {
  const values = rawBytes(logprobs)
  return {
    dtype: DType.DTYPE_FLOAT32,
    shape: [...shape],
    ...(sparse
      ? {
          sparse_csr: {
            values,
            crow_indices: int64Bytes(sparse.starts),
            col_indices: int64Bytes(sparse.columns),
          },
        }
      : { dense: values }),
  }
}

export function decodeTargets({ shape, dense, sparse_csr }: ProtoTensor): Scores {
  const [rows = 0, columns = 0] = shape ?? []
  const empty = new Uint8Array(0)
  if (!sparse_csr) return { shape: [rows, columns], logprobs: readFloat32(dense ?? empty) }
  return {
    shape: [rows, columns],
    sparse: {
      starts: [...readInt64(sparse_csr.crow_indices ?? empty)],
      columns: [...readInt64(sparse_csr.col_indices ?? empty)],
    },
    logprobs: readFloat32(sparse_csr.values ?? empty),
  }
}

export function targetsJson({ shape, sparse, logprobs }: Scores): Schemas['TensorOutput'] {
  return {
    data: [...logprobs],
    dtype: 'float32',
    shape: [...shape],
    ...(sparse && { sparse_crow_indices: [...sparse.starts], sparse_col_indices: [...sparse.columns] }),
  }
}

/** Rows of `k` draws. */
const shapeOf = ({ k, ids }: AltTokens): [number, number] => [ids.length / k, k]

export function encodeAltTokens(drawn: AltTokens): tinker_public.PromptAltTokens.$Properties {
  const shape = shapeOf(drawn)
  return {
    tokens: { dense: int64Bytes(drawn.ids), dtype: DType.DTYPE_INT64, shape },
    logprobs: { dense: rawBytes(drawn.logprobs), dtype: DType.DTYPE_FLOAT32, shape },
  }
}

export function decodeAltTokens({ tokens, logprobs }: tinker_public.PromptAltTokens.$Properties): AltTokens {
  return {
    k: tokens?.shape?.[1] ?? 0,
    ids: Int32Array.from(readInt64(tokens?.dense ?? new Uint8Array(0))),
    logprobs: readFloat32(logprobs?.dense ?? new Uint8Array(0)),
  }
}

export function altTokensJson(drawn: AltTokens): Schemas['PromptAltTokens'] {
  const shape = shapeOf(drawn)
  return {
    tokens: { data: [...drawn.ids], dtype: 'int64', shape },
    logprobs: { data: [...drawn.logprobs], dtype: 'float32', shape },
  }
}
