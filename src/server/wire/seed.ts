// Seeds: any 64-bit integer, signed or not. A larger one would wrap to a seed that somebody else meant.

import { serviceError } from '../errors.ts'

/** In decimal. Throws INVALID_SEED. */
export function seedText(value: number | string): string {
  const number = BigInt(value)
  if (number >= -(2n ** 63n) && number < 2n ** 64n) return number.toString()
  throw serviceError('INVALID_SEED', { seed: String(value) })
}
