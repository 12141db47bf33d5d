/**
 * What every weight format offers to its reader: tensors with a name and a shape whose numbers are read on demand.
 * Knows nothing of where they come from.
 */

export interface LazyTensor {
  readonly name: string
  /** Row-major, outermost dimension first. */
  readonly shape: readonly number[]
  /** Element type in the file: a safetensors dtype ("BF16") or a GGUF type ("Q4_1"). */
  readonly dtype: string
  /** Reads (and dequantises) all elements into a new array that the caller owns. Throws FormatError. */
  read(): Float32Array
  /**
   * Where the same numbers lie as plain little-endian float32, for readers that map the file instead.
   * Absent when the file holds them in another type or order.
   */
  readonly location?: ByteRange
}

interface ByteRange {
  /** Absolute path, symbolic links resolved. */
  readonly file: string
  /** In bytes from the start of the file. */
  readonly offset: number
  readonly length: number
}

/** Number of elements; 1 for a scalar. */
export function elementCount(shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, 1)
}

export function formatShape(shape: readonly number[]): string {
  return `[${shape.join(', ')}]`
}
