// A data set whose steps are carried out when they are added: what comes out is kept, and reached by its place.

import { Arguments, type Kwargs } from '../arguments.ts'
import { invalidArgument } from '../catalogue-error.ts'
import type { ObjectFunction } from '../object.ts'
import type { Pace } from '../pace.ts'
import type { Row } from '../rows.ts'
import { BaseDataset } from './base-dataset.ts'
import { checkCount } from './dataset-meta.ts'
import { sizeOf } from './size.ts'
import type { Source } from './sources.ts'
import type { Step } from './steps.ts'

export class Dataset extends BaseDataset {
  /** After mixing; null: the only data set's. */
  #mixed: Source | null = null
  protected readonly own: Readonly<Record<string, ObjectFunction>> = {
    ...this.common,
    mix_dataset: (kwargs) => this.#mix(kwargs),
    __len__: () => this.length,
    __getitem__: (kwargs, pace) => this.item(kwargs, pace, 'idx'),
  }
  readonly functions: Readonly<Record<string, ObjectFunction>> = this.own

  get length(): number {
    return this.rows.length
  }

  protected get rows(): readonly Row[] {
    return this.#only().rows
  }

  get(place: number): Row {
    return this.rows[place] as Row
  }

  async *stream(pace: Pace, from = 0): AsyncIterable<Row> {
    for (let place = from; place < this.length; place++) {
      await pace.rest()
      yield this.get(place)
    }
  }

  protected item(kwargs: Kwargs, pace: Pace, named: string): Row {
    const args = new Arguments('function', '__getitem__', kwargs)
    return this.saving.note(this.get(placeIn(args, named, this.length)), pace)
  }

  protected async apply(targets: readonly Step[][], step: Step, pace: Pace): Promise<void> {
    // A step that belongs to a data set is carried out on it; which one it is, its list of steps tells.
    const sources = this.#mixed
      ? [this.#mixed]
      : [...this.sources.byKey.values()].filter(({ steps }) => targets.includes(steps))
    for (const source of sources) await replaceRows(source, step, pace)
  }

  protected async encoded(step: Step, pace: Pace): Promise<void> {
    await replaceRows(this.#only(), step, pace)
  }

  protected checked(step: Step, pace: Pace): Promise<void> {
    return this.encoded(step, pace)
  }

  #mix(kwargs: Kwargs): void {
    this.sources.mix(interleaveIn(kwargs))
    if (this.sources.byKey.size > 1) this.#mixed = { rows: this.sources.places(false).map(({ row }) => row), steps: [] }
  }

  #only(): Source {
    if (this.#mixed) return this.#mixed
    const [only] = this.sources.byKey.values()
    // Throws where there are several.
    this.sources.places(false)
    if (only) return only
    throw invalidArgument('data set', this.className, 'dataset_meta', undefined, 'given, or add_dataset called')
  }
}

export function interleaveIn(kwargs: Kwargs): boolean {
  const args = new Arguments('function', 'mix_dataset', kwargs)
  const interleave = args.boolean('interleave', true)
  args.end()
  return interleave
}

/** Places before 0 count from the end. Throws CatalogueError INVALID_ARGUMENT. */
export function placeIn(args: Arguments, named: string, length: number): number {
  const place = args.integer(named, undefined, { atLeast: -length, below: length })
  args.end()
  return place < 0 ? place + length : place
}

async function replaceRows(source: Source, step: Step, pace: Pace): Promise<void> {
  const rows: Row[] = []
  let bytes = 0
  try {
    for (const row of source.rows) {
      for (const made of await step(row, pace)) {
        const size = sizeOf(made)
        pace.hold(size)
        bytes += size
        rows.push(made)
      }
      await pace.rest()
    }
    checkCount(rows)
  } catch (error) {
    // Nothing of it is kept.
    pace.hold(-bytes)
    throw error
  }
  for (const row of new Set(source.rows)) pace.hold(-sizeOf(row))
  source.rows = rows
}
