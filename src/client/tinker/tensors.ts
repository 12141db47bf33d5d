// Tensors as callers give and get them: plain numbers with a type and a shape, dense or in compressed sparse rows; and from
// one form to the other.

import { TinkerError } from './errors.ts'

export type Numbers = readonly number[] | Float32Array | Float64Array | Int32Array
export type DType = 'float32' | 'int64'

/** A dense tensor, row-major; `shape` absent: one dimension. */
export interface DenseTensor {
  readonly data: Numbers
  readonly dtype: DType
  readonly shape?: readonly number[]
}

/** Compressed sparse rows of a matrix: `data` are the listed values. `shape` is the dense one. */
export interface SparseTensor {
  readonly data: Numbers
  readonly dtype: DType
  readonly shape: readonly [rows: number, columns: number]
  /** rows + 1 offsets into `data`. */
  readonly crowIndices: readonly number[]
  /** One a value. */
  readonly colIndices: readonly number[]
}

export type Tensor = DenseTensor | SparseTensor

/** A tensor of an answer. Sparse where the request's was. */
export interface TensorOutput {
  /** Whole numbers come as float64, which holds them exactly up to 2^53. */
  readonly data: Float32Array | Float64Array
  readonly shape: readonly number[]
  readonly crowIndices?: readonly number[]
  readonly colIndices?: readonly number[]
}

export function isSparse<T extends Tensor | TensorOutput>(tensor: T): tensor is T & SparseTensor {
  return 'crowIndices' in tensor && tensor.crowIndices !== undefined
}

/**
 * The same matrix with the cells that are `padValue` left out, where that makes it smaller; else as it was. In a datum cells
 * that are left out count as 0; in `targetPromptLogprobs` give -1.
 */
export function toSparse(tensor: DenseTensor, padValue = 0): Tensor {
  const [rows, columns, ...more] = tensor.shape ?? []
  if (rows === undefined || columns === undefined || more.length > 0) return tensor
  const crowIndices = [0]
  const colIndices: number[] = []
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      if (tensor.data[row * columns + column] !== padValue) colIndices.push(column)
    }
    crowIndices.push(colIndices.length)
  }
  if (rows + 1 + 2 * colIndices.length >= rows * columns) return tensor
  const data = Array.from(tensor.data).filter((value) => value !== padValue)
  return { data, dtype: tensor.dtype, shape: [rows, columns], crowIndices, colIndices }
}

/** All cells, row-major; those that are not listed are `padValue`. Throws TinkerError for indices outside the shape. */
export function toDense(tensor: Tensor | TensorOutput, padValue = 0): Float64Array {
  if (!isSparse(tensor)) return Float64Array.from(tensor.data)
  const [rows, columns] = tensor.shape
  const dense = new Float64Array(rows * columns).fill(padValue)
  for (let row = 0; row < rows; row++) {
    for (let at = tensor.crowIndices[row]!; at < tensor.crowIndices[row + 1]!; at++) {
      const column = tensor.colIndices[at]!
      if (!(column >= 0 && column < columns))
        throw new TinkerError(`Column ${column} is outside of ${columns} columns.`)
      dense[row * columns + column] = tensor.data[at]!
    }
  }
  return dense
}
