// Figures of repeated measurements, as the reader wants them: median, and the spread beside it. Knows numbers only.

export interface Figure {
  readonly name: string
  readonly unit: string
  readonly values: readonly number[]
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2
}

/** One Markdown row: name, median, spread, how many. */
export function row({ name, unit, values }: Figure): string {
  const shown = [median(values), Math.min(...values), Math.max(...values)].map(short)
  return `| ${name} | ${shown[0]} ${unit} | ${shown[1]} to ${shown[2]} | ${values.length} |`
}

export const HEADER = '| figure | median | spread | runs |\n| --- | --- | --- | --- |'

function short(value: number): string {
  if (Math.abs(value) >= 100) return value.toFixed(0)
  return value.toFixed(Math.abs(value) >= 10 ? 1 : 2)
}

export async function timed(work: () => PromiseLike<unknown>): Promise<number> {
  const start = performance.now()
  await work()
  return performance.now() - start
}
