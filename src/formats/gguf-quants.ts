/**
 * Element types of GGUF tensors and their expansion to float32. Quantised types store blocks of 32 values.
 * Block layouts: github.com/ggml-org/ggml, src/ggml-common.h. Knows bytes and blocks; knows no file and no shape.
 */
import { halfTable, toFloat32 } from './dtype.ts'

export const READABLE_GGML_TYPES = ['F32', 'F16', 'BF16', 'Q8_0', 'Q4_0', 'Q4_1'] as const
export type ReadableGgmlType = (typeof READABLE_GGML_TYPES)[number]

type GgmlType =
  | {
      readonly readable: true
      readonly name: ReadableGgmlType
      readonly blockElements: number
      readonly blockBytes: number
    }
  | { readonly readable: false; readonly name: string }

const LAYOUTS: Readonly<Record<ReadableGgmlType, { id: number; blockElements: number; blockBytes: number }>> = {
  F32: { id: 0, blockElements: 1, blockBytes: 4 },
  F16: { id: 1, blockElements: 1, blockBytes: 2 },
  Q4_0: { id: 2, blockElements: 32, blockBytes: 2 + 16 },
  Q4_1: { id: 3, blockElements: 32, blockBytes: 2 + 2 + 16 },
  Q8_0: { id: 8, blockElements: 32, blockBytes: 2 + 32 },
  BF16: { id: 30, blockElements: 1, blockBytes: 2 },
}

/** Names of what is refused, so that the message says more than a number. */
const OTHER_NAMES: Readonly<Record<number, string>> = {
  6: 'Q5_0',
  7: 'Q5_1',
  9: 'Q8_1',
  10: 'Q2_K',
  11: 'Q3_K',
  12: 'Q4_K',
  13: 'Q5_K',
  14: 'Q6_K',
  15: 'Q8_K',
  16: 'IQ2_XXS',
  17: 'IQ2_XS',
  18: 'IQ3_XXS',
  19: 'IQ1_S',
  20: 'IQ4_NL',
  21: 'IQ3_S',
  22: 'IQ2_S',
  23: 'IQ4_XS',
  24: 'I8',
  25: 'I16',
  26: 'I32',
  27: 'I64',
  28: 'F64',
  29: 'IQ1_M',
  34: 'TQ1_0',
  35: 'TQ2_0',
  39: 'MXFP4',
}

export function ggmlType(id: number): GgmlType {
  for (const name of READABLE_GGML_TYPES) {
    const { blockElements, blockBytes } = LAYOUTS[name]
    if (LAYOUTS[name].id === id) return { readable: true, name, blockElements, blockBytes }
  }
  return { readable: false, name: OTHER_NAMES[id] ?? `number ${id}` }
}

/** `bytes` must be a whole number of blocks; results are rounded to float32 as ggml rounds them. */
export function dequantise(bytes: Uint8Array, type: ReadableGgmlType): Float32Array {
  switch (type) {
    case 'F32':
    case 'F16':
    case 'BF16':
      return toFloat32(bytes, type)
    case 'Q8_0':
      return expandBlocks(bytes, LAYOUTS.Q8_0.blockBytes, expandQ8_0)
    case 'Q4_0':
      return expandBlocks(bytes, LAYOUTS.Q4_0.blockBytes, expandQ4_0)
    case 'Q4_1':
      return expandBlocks(bytes, LAYOUTS.Q4_1.blockBytes, expandQ4_1)
  }
}

type ExpandBlock = (bytes: Uint8Array, start: number, half: Float32Array, out: Float32Array, at: number) => void

function expandBlocks(bytes: Uint8Array, blockBytes: number, expand: ExpandBlock): Float32Array {
  const blocks = bytes.length / blockBytes
  const out = new Float32Array(blocks * 32)
  const half = halfTable()
  for (let block = 0; block < blocks; block++) expand(bytes, block * blockBytes, half, out, block * 32)
  return out
}

/** scale (float16), 32 signed bytes: q * scale. */
const expandQ8_0: ExpandBlock = (bytes, start, half, out, at) => {
  const scale = halfAt(bytes, start, half)
  for (let i = 0; i < 32; i++) out[at + i] = ((bytes[start + 2 + i]! << 24) >> 24) * scale
}

/** scale (float16), 16 bytes of two values each, low halves first: (q - 8) * scale. */
const expandQ4_0: ExpandBlock = (bytes, start, half, out, at) => {
  const scale = halfAt(bytes, start, half)
  for (let i = 0; i < 16; i++) {
    const pair = bytes[start + 2 + i]!
    out[at + i] = ((pair & 15) - 8) * scale
    out[at + 16 + i] = ((pair >> 4) - 8) * scale
  }
}

/** scale, minimum (float16 each), 16 bytes of two values each, low halves first: q * scale + minimum. */
const expandQ4_1: ExpandBlock = (bytes, start, half, out, at) => {
  const scale = halfAt(bytes, start, half)
  const minimum = halfAt(bytes, start + 2, half)
  for (let i = 0; i < 16; i++) {
    const pair = bytes[start + 4 + i]!
    out[at + i] = (pair & 15) * scale + minimum
    out[at + 16 + i] = (pair >> 4) * scale + minimum
  }
}

function halfAt(bytes: Uint8Array, start: number, half: Float32Array): number {
  return half[bytes[start]! | (bytes[start + 1]! << 8)]!
}
