// The order in which an epoch goes through rows. A shuffled one follows from a seed and the number of the epoch alone, so that
// it is the same again after a restart, on every machine.

/** 0 to count - 1; shuffled by Fisher and Yates, drawing from Mulberry32 with a state made of seed and epoch. */
export function orderOf(count: number, seed: number | null, epoch: number): Uint32Array {
  const order = Uint32Array.from({ length: count }, (_, i) => i)
  if (seed === null) return order
  const draw = mulberry32((Math.imul(seed, 0x9e3779b1) ^ Math.imul(epoch + 1, 0x85ebca6b)) >>> 0)
  for (let i = count - 1; i > 0; i--) {
    const j = Math.floor(draw() * (i + 1))
    const other = order[j] as number
    order[j] = order[i] as number
    order[i] = other
  }
  return order
}

/** Numbers in [0, 1). */
function mulberry32(start: number): () => number {
  let state = start
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = Math.imul(state ^ (state >>> 15), state | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
}
