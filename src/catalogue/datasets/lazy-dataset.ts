// Data sets whose steps are noted, and carried out for a row when it is asked for: they take the memory of what was loaded.
// One is reached by places, so filters are carried out at once; the other is only gone through from its beginning.

import { Arguments, type Kwargs } from '../arguments.ts'
import { CatalogueError } from '../catalogue-error.ts'
import type { ObjectFunction } from '../object.ts'
import type { Pace } from '../pace.ts'
import type { Row } from '../rows.ts'
import { BaseDataset, type Slot } from './base-dataset.ts'
import { interleaveIn, placeIn } from './dataset.ts'
import { type Source, stepped } from './sources.ts'
import { filterStep, type Step } from './steps.ts'

export class LazyDataset extends BaseDataset {
  #final: Step | null = null
  readonly functions: Readonly<Record<string, ObjectFunction>> = {
    ...this.common,
    filter: (kwargs, pace) => this.#filter(kwargs, pace),
    mix_dataset: (kwargs) => this.sources.mix(interleaveIn(kwargs)),
    __len__: () => this.length,
    __getitem__: async (kwargs, pace) => {
      const row = await this.get(placeIn(new Arguments('function', '__getitem__', kwargs), 'idx', this.length), pace)
      return row && this.saving.note(row, pace)
    },
  }

  get length(): number {
    return this.#places().length
  }

  /** Null for a row that a check or a template's `delete` leaves out. */
  async get(place: number, pace: Pace): Promise<Slot> {
    const { source, row } = this.#places()[place] as { source: Source; row: Row }
    const steps = [...source.steps, ...this.sources.steps, ...(this.#final ? [this.#final] : [])]
    return (await stepped(row, steps, pace))[0] ?? null
  }

  async *stream(pace: Pace, from = 0): AsyncIterable<Slot> {
    for (let place = from; place < this.length; place++) {
      await pace.rest()
      yield await this.get(place, pace)
    }
  }

  /** In turns, the shorter ones begin anew until the longest ends: Twinkle's rule for this kind. */
  #places() {
    const { size } = this.sources.byKey
    if (this.#cache?.size !== size || this.#cache.mixing !== this.sources.mixing) {
      this.#cache = { size, mixing: this.sources.mixing, places: this.sources.places(true) }
    }
    return this.#cache.places
  }
  #cache: { size: number; mixing: string; places: { source: Source; row: Row }[] } | null = null

  protected async apply(targets: readonly Step[][], step: Step): Promise<void> {
    for (const steps of targets) steps.push(step)
  }

  protected async encoded(step: Step): Promise<void> {
    if (this.template.options.truncationStrategy === 'split') {
      throw new CatalogueError(
        'INVALID_ARGUMENT',
        `A ${this.className} cannot encode with truncation_strategy = split: its rows keep their places.`,
        'Use a Dataset, or another truncation_strategy.',
      )
    }
    this.#final = step
  }

  protected async checked(step: Step): Promise<void> {
    this.#final ??= step
  }

  /** Looks at rows as they are after the steps so far. */
  async #filter(kwargs: Kwargs, pace: Pace): Promise<void> {
    const keep = filterStep(kwargs)
    const targets = this.sources.stepsFor(null)
    if (this.sources.mixing !== 'alone') throw filterFirst(this.className)
    for (const source of this.sources.byKey.values()) {
      if (!targets.includes(source.steps)) continue
      const rows: Row[] = []
      for (const row of source.rows) {
        if ((await stepped(row, [...source.steps, keep], pace)).length > 0) rows.push(row)
        await pace.rest()
      }
      source.rows = rows
    }
    this.#cache = null
  }
}

export class IterableDataset extends BaseDataset {
  protected readonly own: Readonly<Record<string, ObjectFunction>> = {
    ...this.common,
    mix_dataset: (kwargs) => this.sources.mix(interleaveIn(kwargs)),
  }
  readonly functions: Readonly<Record<string, ObjectFunction>> = this.own

  async *stream(pace: Pace, from = 0): AsyncIterable<Row> {
    let place = 0
    for (const { source, row } of this.sources.places(false)) {
      await pace.rest()
      const rows = await stepped(row, [...source.steps, ...this.sources.steps], pace)
      for (const made of rows) if (place++ >= from) yield made
    }
  }

  protected async apply(targets: readonly Step[][], step: Step): Promise<void> {
    for (const steps of targets) steps.push(step)
  }

  protected async encoded(step: Step): Promise<void> {
    this.sources.steps.push(step)
  }

  protected checked(step: Step): Promise<void> {
    return this.encoded(step)
  }
}

function filterFirst(className: string): CatalogueError {
  return new CatalogueError(
    'INVALID_ARGUMENT',
    `A ${className} cannot be filtered after mix_dataset.`,
    'Filter before mixing.',
  )
}
