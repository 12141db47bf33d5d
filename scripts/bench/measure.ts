// Figures of repeated measurements, as the reader wants them: median, and the spread beside it. Knows numbers only.

interface Figure {
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
function row({ name, unit, values }: Figure): string {
  const shown = [median(values), Math.min(...values), Math.max(...values)].map(short)
  return `| ${name} | ${shown[0]} ${unit} | ${shown[1]} to ${shown[2]} | ${values.length} |`
}

const HEADER = '| figure | median | spread | runs |\n| --- | --- | --- | --- |'

function short(value: number): string {
  if (Math.abs(value) >= 100) return value.toFixed(0)
  return value.toFixed(Math.abs(value) >= 10 ? 1 : 2)
}

export async function timed(work: () => PromiseLike<unknown>): Promise<number> {
  const start = performance.now()
  await work()
  return performance.now() - start
}

/** The value below which this share of the values lies. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? Number.NaN
}

/** Figures as they come, each under its name. */
export class Figures {
  readonly #values = new Map<string, { unit: string; values: number[] }>()

  add(name: string, unit: string, value: number): void {
    const known = this.#values.get(name)
    if (known) known.values.push(value)
    else this.#values.set(name, { unit, values: [value] })
  }

  table(): string {
    const rows = [...this.#values].map(([name, { unit, values }]) => row({ name, unit, values }))
    return `${HEADER}\n${rows.join('\n')}`
  }
}
