// The start of a LoRA adapter: A uniform in +-1/sqrt(in), B zero. The numbers come from Philox 4x32-10 (Salmon et al.,
// "Parallel random numbers: as easy as 1, 2, 3", 2011) keyed by the seed, so that element i of a projection depends on the
// seed, the projection and i alone. Changing anything here changes what a seed means: raise INIT_VERSION then.

import { type AdapterLayout, PROJECTIONS } from './adapter-layout.ts'

export const INIT_VERSION = 1

/** Parameters [layout.size] for a seed, any 64-bit integer in decimal. */
export function initialParams(layout: AdapterLayout, seed: string): Float32Array {
  const bits = BigInt.asUintN(64, BigInt(seed))
  const key = [Number(bits & 0xffffffffn), Number(bits >> 32n)] as const
  const params = new Float32Array(layout.size)
  for (const { projection, a, layers, in: width } of layout.sections) {
    const bound = 1 / Math.sqrt(width)
    const stream = PROJECTIONS.indexOf(projection)
    fillUniform(params.subarray(a, a + layers * layout.rank * width), bound, key, stream)
  }
  return params
}

/** Element i is word i % 4 of the block with counter [i / 4, stream, 0, 0]; a word w gives bound * (2 (w >>> 8) / 2^24 - 1). */
function fillUniform(out: Float32Array, bound: number, key: readonly [number, number], stream: number): void {
  const block = new Uint32Array(4)
  for (let i = 0; i < out.length; i++) {
    if (i % 4 === 0) philox(block, i / 4, stream, key)
    out[i] = bound * ((2 * ((block[i % 4] as number) >>> 8)) / 2 ** 24 - 1)
  }
}

/** Ten rounds over the counter [counter, stream, 0, 0]. */
export function philox(out: Uint32Array, counter: number, stream: number, key: readonly [number, number]): void {
  let [x0, x1, x2, x3] = [counter >>> 0, stream >>> 0, 0, 0]
  let [k0, k1] = key
  for (let round = 0; round < 10; round++) {
    const high0 = multiplyHigh(0xd2511f53, x0)
    const low0 = Math.imul(0xd2511f53, x0)
    const high1 = multiplyHigh(0xcd9e8d57, x2)
    const low1 = Math.imul(0xcd9e8d57, x2)
    x0 = (high1 ^ x1 ^ k0) >>> 0
    x1 = low1 >>> 0
    x2 = (high0 ^ x3 ^ k1) >>> 0
    x3 = low0 >>> 0
    k0 = (k0 + 0x9e3779b9) >>> 0
    k1 = (k1 + 0xbb67ae85) >>> 0
  }
  out[0] = x0
  out[1] = x1
  out[2] = x2
  out[3] = x3
}

/** The upper 32 bits of a 64-bit product of unsigned 32-bit numbers. */
function multiplyHigh(a: number, b: number): number {
  const aLow = a & 0xffff
  const aHigh = a >>> 16
  const bLow = b & 0xffff
  const bHigh = b >>> 16
  const middle = aHigh * bLow + Math.floor((aLow * bLow) / 0x10000)
  const carry = (middle % 0x10000) + aLow * bHigh
  return (aHigh * bHigh + Math.floor(middle / 0x10000) + Math.floor(carry / 0x10000)) >>> 0
}
