// Numbers as Python's format() writes them, which is how Twinkle's metrics come: f'{x:.4f}' and f'{x:.6e}'. JavaScript rounds
// halves away from zero and writes short exponents; Python rounds them to even and writes two digits.

/** f'{x:.{digits}f}' */
export function fixed(x: number, digits: number): string {
  if (!Number.isFinite(x)) return notFinite(x)
  const [minus, size] = [isNegative(x) ? '-' : '', Math.abs(x)]
  if (size >= 1e21) return `${minus}${BigInt(size)}${digits > 0 ? `.${'0'.repeat(digits)}` : ''}`
  const exact = size.toFixed(100)
  const cut = exact.indexOf('.') + (digits > 0 ? digits + 1 : 0)
  return minus + (isHalf(exact.slice(cut)) && isEven(exact.slice(0, cut)) ? exact.slice(0, cut) : size.toFixed(digits))
}

/** f'{x:.{digits}e}' */
export function scientific(x: number, digits: number): string {
  if (!Number.isFinite(x)) return notFinite(x)
  const [minus, size] = [isNegative(x) ? '-' : '', Math.abs(x)]
  const [exact, exponent] = size.toExponential(100).split('e') as [string, string]
  const cut = exact.indexOf('.') + 1 + digits
  const isDown = isHalf(exact.slice(cut)) && isEven(exact.slice(0, cut))
  const [mantissa, rounded] = isDown ? [exact.slice(0, cut), exponent] : size.toExponential(digits).split('e')
  const [, sign, places] = /^([+-])(\d+)$/.exec(rounded as string) as unknown as [string, string, string]
  return `${minus}${mantissa}e${sign}${places.padStart(2, '0')}`
}

const isNegative = (x: number) => x < 0 || Object.is(x, -0)
/** What is cut off is exactly half of the last place. */
const isHalf = (rest: string) => /^\.?50*$/.test(rest)
const isEven = (kept: string) => /[02468]\.?$/.test(kept)
const notFinite = (x: number) => (Number.isNaN(x) ? 'nan' : x > 0 ? 'inf' : '-inf')
