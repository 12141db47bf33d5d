// loss_fn_inputs: tensors of a datum, dense or compressed by rows (CSR), in either encoding, become dense typed arrays.
// Everything that a tensor can lie about is checked here: lengths, types, shapes, indices. What a loss makes of the numbers,
// and whether a token is in a vocabulary, is checked by those who know.

import type { Schemas } from '../../generated/operations.ts'
import type { tinker_public } from '../../generated/tinker-proto.js'
import { serviceError } from '../errors.ts'
import { DTYPES, ELEMENT_BYTES, type Numbers, readInt64, readNumbers, type WireDType } from './bytes.ts'

/** A tensor as it came: only what JSON or protobuf themselves guarantee holds. */
export interface WireTensor {
  readonly dtype: WireDType
  /** Null: one-dimensional. */
  readonly shape: readonly number[] | null
  readonly values: Numbers
  readonly csr: { readonly rows: Numbers; readonly columns: Numbers } | null
}

/** Which tensor of which datum, for messages. */
export interface TensorName {
  readonly datum: number
  readonly name: string
}

/**
 * Cells that the sparse tensors of one request may have together: a few indices can stand for any number of zeros.
 * 2^23 int64 targets and as many weights are 96 MiB.
 */
export const MAX_SPARSE_CELLS = 2 ** 23

export interface SparseBudget {
  cells: number
}

const PROTO_DTYPES: readonly (WireDType | undefined)[] = [undefined, 'float32', 'int64', 'int32', 'bfloat16']

export function tensorOfProto(tensor: tinker_public.Tensor.$Properties, name: TensorName): WireTensor {
  const dtype = PROTO_DTYPES[tensor.dtype ?? 0]
  if (!dtype) throw invalid(name, `has the dtype number ${tensor.dtype ?? 0}`, `one of ${DTYPES.join(', ')}`)
  const shape = tensor.shape && tensor.shape.length > 0 ? tensor.shape : null
  const sparse = tensor.sparse_csr
  const bytes = sparse ? sparse.values : tensor.dense
  return {
    dtype,
    shape,
    values: readNumbers(whole(bytes, ELEMENT_BYTES[dtype], name), dtype),
    csr: sparse
      ? {
          rows: readInt64(whole(sparse.crow_indices, 8, name)),
          columns: readInt64(whole(sparse.col_indices, 8, name)),
        }
      : null,
  }
}

export function tensorOfJson(tensor: Schemas['TensorData']): WireTensor {
  const { sparse_crow_indices: rows, sparse_col_indices: columns } = tensor
  return {
    dtype: tensor.dtype,
    shape: tensor.shape ?? null,
    values: tensor.data,
    csr: rows || columns ? { rows: rows ?? [], columns: columns ?? [] } : null,
  }
}

/** Row-major values of a dense tensor, and its shape. */
export interface Dense {
  readonly values: Numbers
  readonly shape: readonly number[]
}

/** Checks the shape against the values; spreads a sparse tensor out, with zeros in cells that are not listed. */
export function dense(tensor: WireTensor, name: TensorName, budget: SparseBudget): Dense {
  const { values, csr } = tensor
  const shape = tensor.shape ?? [values.length]
  if (!shape.every((size) => Number.isSafeInteger(size) && size >= 0)) {
    throw invalid(name, `has the shape ${text(shape)}`, 'whole numbers from 0')
  }
  if (csr) return { values: spread(values, csr, shape, name, budget), shape }
  const cells = shape.reduce((product, size) => product * size, 1)
  if (cells === values.length) return { values, shape }
  throw invalid(name, `has ${values.length} values, which do not fill its shape ${text(shape)}`, `${cells} values`)
}

function spread(
  values: Numbers,
  { rows, columns }: { rows: Numbers; columns: Numbers },
  shape: readonly number[],
  name: TensorName,
  budget: SparseBudget,
): Float64Array {
  const [height, width] = shape
  if (shape.length !== 2 || height === undefined || width === undefined) {
    throw invalid(name, `is sparse and has the shape ${text(shape)}`, 'a shape of two dimensions')
  }
  if (rows.length !== height + 1) {
    throw invalid(name, `has ${rows.length} row starts for ${height} rows`, `${height + 1} row starts`)
  }
  if (columns.length !== values.length) {
    throw invalid(name, `has ${values.length} values in ${columns.length} columns`, 'a column for each value')
  }
  if (rows[0] !== 0 || rows[height] !== values.length) {
    throw invalid(name, `has row starts from ${rows[0]} to ${rows[height]}`, `row starts from 0 to ${values.length}`)
  }
  budget.cells += height * width
  if (!(budget.cells <= MAX_SPARSE_CELLS)) {
    throw serviceError('TENSOR_TOO_LARGE', { ...name, limit: MAX_SPARSE_CELLS })
  }
  const out = new Float64Array(height * width)
  for (let row = 0; row < height; row++) spreadRow(out, row, width, { values, rows, columns }, name)
  return out
}

function spreadRow(
  out: Float64Array,
  row: number,
  width: number,
  { values, rows, columns }: { values: Numbers; rows: Numbers; columns: Numbers },
  name: TensorName,
): void {
  const start = rows[row]!
  const end = rows[row + 1]!
  if (!(Number.isInteger(start) && start >= 0 && start <= end && end <= values.length)) {
    throw invalid(name, `has the row starts ${start}, ${end} at row ${row}`, `ascending whole numbers`)
  }
  let last = -1
  for (let i = start; i < end; i++) {
    const column = columns[i]!
    if (!Number.isInteger(column) || column < 0 || column >= width) {
      throw invalid(name, `has column ${column} in row ${row}`, `columns 0 to ${width - 1}`)
    }
    if (column === last) throw invalid(name, `has column ${column} twice in row ${row}`, 'each cell at most once')
    out[row * width + column] = values[i]!
    last = column
  }
}

/** Token ids: integers that fit 32 bits. */
export function toInt32(tensor: Dense, dtype: WireDType, name: TensorName): Int32Array {
  if (dtype !== 'int64' && dtype !== 'int32') throw invalid(name, `has the dtype ${dtype}`, 'int64')
  const { values } = tensor
  const out = new Int32Array(values.length)
  for (let i = 0; i < values.length; i++) {
    const value = values[i]!
    out[i] = value
    if (out[i] !== value) throw invalid(name, `has ${value} at position ${i}`, 'token ids that fit 32 bits')
  }
  return out
}

/** Finite numbers; whole ones are taken too. */
export function toFloat32(tensor: Dense, name: TensorName): Float32Array {
  const { values } = tensor
  const out = Float32Array.from(values)
  for (let i = 0; i < out.length; i++) {
    if (!Number.isFinite(out[i])) {
      throw serviceError('NON_FINITE_TENSOR', { ...name, value: String(values[i]), position: i })
    }
  }
  return out
}

/** @param expected what would have been right, without a full stop */
export function invalid(name: TensorName, problem: string, expected: string): Error {
  return serviceError('INVALID_TENSOR', { ...name, problem, expected })
}

export const text = (shape: readonly number[]): string => `[${shape.slice(0, 8).join(', ')}]`

function whole(bytes: Uint8Array | null | undefined, size: number, name: TensorName): Uint8Array {
  const given = bytes ?? new Uint8Array(0)
  if (given.length % size === 0) return given
  throw invalid(name, `has ${given.length} bytes of data`, `a multiple of ${size} bytes`)
}
