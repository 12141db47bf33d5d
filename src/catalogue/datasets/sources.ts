// The data sets that one object holds, by their names, and how they are mixed. Rows stay as they were loaded; the steps that
// each data set goes through, and all of them after they were mixed, are kept beside them.

import { CatalogueError } from '../catalogue-error.ts'
import type { Pace } from '../pace.ts'
import type { Row } from '../rows.ts'
import { checkCount, type DatasetMeta, sliced } from './dataset-meta.ts'
import { type Mixing, mixed } from './mixing.ts'
import { sizeOf } from './size.ts'
import type { Step } from './steps.ts'

export interface Source {
  rows: readonly Row[]
  readonly steps: Step[]
}

export class Sources {
  readonly byKey = new Map<string, Source>()
  /** After mixing. */
  readonly steps: Step[] = []
  #mixing: Mixing = 'alone'

  get mixing(): Mixing {
    return this.#mixing
  }

  /** Those of an earlier data set of the same name are replaced. */
  async add(meta: DatasetMeta, rows: readonly Row[], pace: Pace): Promise<void> {
    const chosen = sliced(rows, meta.slice)
    // A row that is chosen twice is kept once.
    await held(meta.slice ? new Set(chosen) : chosen, pace)
    this.byKey.set(meta.key, { rows: chosen, steps: [] })
  }

  /** Nothing, where there is one data set only. */
  mix(interleave: boolean): void {
    if (this.byKey.size > 1) this.#mixing = interleave ? 'interleaved' : 'joined'
  }

  /** Where a step belongs to. Throws CatalogueError INVALID_ARGUMENT where that cannot be told. */
  stepsFor(meta: DatasetMeta | null): Step[][] {
    if (this.#mixing !== 'alone') return [this.steps]
    if (meta === null) return [...this.byKey.values()].map(({ steps }) => steps)
    const source = this.byKey.get(meta.key)
    if (source) return [source.steps]
    throw new CatalogueError(
      'INVALID_ARGUMENT',
      `There is no data set ${meta.key} in this object.`,
      `There are: ${[...this.byKey.keys()].join(', ')}.`,
    )
  }

  /** Which row of which data set stands at each place, before any step. Throws where several are not mixed. */
  places(again: boolean): { source: Source; row: Row }[] {
    const sources = [...this.byKey.values()]
    if (sources.length > 1 && this.#mixing === 'alone') throw notMixed(sources.length)
    const lengths = sources.map(({ rows }) => rows.length)
    return checkCount(mixed(lengths, this.#mixing, again)).map(([s, r]) => {
      const source = sources[s] as Source
      return { source, row: source.rows[r] as Row }
    })
  }
}

/** What several steps make of a row. Throws what the steps throw. */
export async function stepped(row: Row, steps: readonly Step[], pace: Pace): Promise<readonly Row[]> {
  let rows: readonly Row[] = [row]
  for (const step of steps) {
    const made: Row[] = []
    for (const each of rows) made.push(...(await step(each, pace)))
    rows = made
  }
  return rows
}

/** Tells the pace of rows that are kept from now on. */
export async function held(rows: Iterable<Row>, pace: Pace): Promise<void> {
  for (const row of rows) {
    pace.hold(sizeOf(row))
    await pace.rest()
  }
}

function notMixed(count: number): CatalogueError {
  return new CatalogueError(
    'INVALID_ARGUMENT',
    `The ${count} data sets of this object are not mixed.`,
    'Call mix_dataset first.',
  )
}
