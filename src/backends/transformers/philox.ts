// Random numbers without state: Philox 4x32 with 10 rounds (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3",
// SC 2011). The number for a place depends on the place alone, so it is the same whatever else is drawn, and when.

const MULTIPLIER_0 = 0xd2511f53
const MULTIPLIER_1 = 0xcd9e8d57
const WEYL_0 = 0x9e3779b9
const WEYL_1 = 0xbb67ae85
const ROUNDS = 10

export type Words4 = readonly [number, number, number, number]
export type Key = readonly [number, number]

/** Four unsigned 32-bit words for a counter of four under a key of two. */
export function philox(counter: Words4, key: Key): Words4 {
  let [a, b, c, d] = counter
  let [k0, k1] = key
  for (let round = 0; round < ROUNDS; round++) {
    const [high0, low0] = multiply(MULTIPLIER_0, a)
    const [high1, low1] = multiply(MULTIPLIER_1, c)
    a = (high1 ^ b ^ k0) >>> 0
    b = low1
    c = (high0 ^ d ^ k1) >>> 0
    d = low0
    k0 = (k0 + WEYL_0) >>> 0
    k1 = (k1 + WEYL_1) >>> 0
  }
  return [a, b, c, d]
}

/** High and low word of the product of two 32-bit words. */
function multiply(x: number, y: number): [number, number] {
  const low = Math.imul(x, y) >>> 0
  const x0 = x & 0xffff
  const x1 = x >>> 16
  const y0 = y & 0xffff
  const y1 = y >>> 16
  const middle = x1 * y0 + ((x0 * y0) >>> 16)
  const carry = (middle & 0xffff) + x0 * y1
  const high = x1 * y1 + Math.floor(middle / 0x10000) + Math.floor(carry / 0x10000)
  return [high >>> 0, low]
}

/** The key of a seed, an unsigned 64-bit integer in decimal. */
export function keyOfSeed(seed: string): Key {
  const bits = BigInt.asUintN(64, BigInt(seed))
  return [Number(bits & 0xffffffffn), Number(bits >> 32n)]
}

/** What is drawn: two draws at one place of different streams have nothing to do with each other. */
const STREAMS = { sample: 0, promptDraw: 1 } as const

/** Uniform in [0, 1) with 53 random bits: for the token at `position` of sequence `sample`, or of that draw of a prompt's. */
export function uniform(key: Key, sample: number, position: number, stream: keyof typeof STREAMS = 'sample'): number {
  const [high, low] = philox([position, sample, STREAMS[stream], 0], key)
  return ((high >>> 5) * 2 ** 26 + (low >>> 6)) / 2 ** 53
}
