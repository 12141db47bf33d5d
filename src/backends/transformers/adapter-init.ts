// The start of a LoRA adapter: A uniform in +-1/sqrt(in), B zero. Element i of a projection depends on the seed, the
// projection and i alone. Changing anything here changes what a seed means: raise INIT_VERSION then.

import { type AdapterLayout, PROJECTIONS } from './adapter-layout.ts'
import { keyOfSeed, philox, type Words4 } from './philox.ts'

export const INIT_VERSION = 1

/**
 * Parameters [layout.size] for a seed, any 64-bit integer in decimal. Element i of A is word i % 4 of Philox at the counter
 * [i / 4, index of the projection, 0, 0]; a word w stands for bound * (2 (w >>> 8) / 2^24 - 1).
 */
export function initialParams(layout: AdapterLayout, seed: string): Float32Array {
  const key = keyOfSeed(seed)
  const params = new Float32Array(layout.size)
  for (const { projection, a, layers, in: width } of layout.sections) {
    const bound = 1 / Math.sqrt(width)
    const stream = PROJECTIONS.indexOf(projection)
    const size = layers * layout.rank * width
    let words: Words4 = [0, 0, 0, 0]
    for (let i = 0; i < size; i++) {
      if (i % 4 === 0) words = philox([i / 4, stream, 0, 0], key)
      params[a + i] = bound * ((2 * ((words[i % 4] as number) >>> 8)) / 2 ** 24 - 1)
    }
  }
  return params
}
