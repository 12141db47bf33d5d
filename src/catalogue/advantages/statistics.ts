// Mean and deviation in float64, as the formulas of advantages have them.

export function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length
}

/** @param lost How many degrees of freedom are lost: 1 for a sample, 0 for a whole population. */
export function deviation(values: readonly number[], lost: 0 | 1): number {
  const middle = mean(values)
  const squares = values.reduce((sum, value) => sum + (value - middle) ** 2, 0)
  return Math.sqrt(squares / (values.length - lost))
}

/** Added to deviations, so that equal rewards give zeros. */
export const EPSILON = 1e-8

export function groupsOf(values: readonly number[], size: number): number[][] {
  return Array.from({ length: values.length / size }, (_, group) => values.slice(group * size, (group + 1) * size))
}
