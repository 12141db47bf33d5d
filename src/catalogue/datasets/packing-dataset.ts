// Data sets whose rows are put together until they are as long as the template allows: all of them at once, or so many at a
// time on the way. Within a packed row, positions begin anew with each of its rows.

import type { Arguments, Kwargs } from '../arguments.ts'
import { CatalogueError } from '../catalogue-error.ts'
import type { ObjectFunction } from '../object.ts'
import type { Pace } from '../pace.ts'
import { packed } from '../processors/index.ts'
import type { Row } from '../rows.ts'
import type { Template } from '../templates/index.ts'
import { Dataset } from './dataset.ts'
import { IterableDataset } from './lazy-dataset.ts'
import { bestFit, groupsOf } from './packing.ts'

/** Where a template has no max_length. */
const DEFAULT_LENGTH = 2048

const lengthOf = (row: Row): number => (row.input_ids as readonly number[]).length
const mostOf = ({ options }: Template): number => options.maxLength ?? DEFAULT_LENGTH

export class PackingDataset extends Dataset {
  /** Which rows each packed row is made of. */
  #groups: readonly (readonly number[])[] | null = null
  override readonly functions: Readonly<Record<string, ObjectFunction>> = {
    ...this.own,
    pack_dataset: () => this.#pack(),
    __getitem__: (kwargs, pace) => this.item(kwargs, pace, 'index'),
  }

  override async open(args: Arguments, pace: Pace): Promise<this> {
    args.integer('packing_num_proc', 1, { atLeast: 1 })
    return super.open(args, pace)
  }

  override get length(): number {
    return this.#packed().length
  }

  override get(place: number): Row {
    return packed((this.#packed()[place] as readonly number[]).map((index) => this.rows[index] as Row))
  }

  #pack(): void {
    const { template, rows } = this
    if (!rows.every(({ input_ids: ids }) => Array.isArray(ids))) throw notEncoded()
    this.#groups = groupsOf(rows.map(lengthOf), mostOf(template))
  }

  #packed(): readonly (readonly number[])[] {
    if (this.#groups) return this.#groups
    throw notPacked()
  }
}

export class IterablePackingDataset extends IterableDataset {
  #interval = 128
  #isCyclic = false
  #isPacked = false
  override readonly functions: Readonly<Record<string, ObjectFunction>> = {
    ...this.own,
    set_template: (kwargs) => this.#setTemplate(kwargs),
    pack_dataset: () => {
      this.#isPacked = true
    },
  }

  override async open(args: Arguments, pace: Pace): Promise<this> {
    this.#interval = args.integer('packing_interval', 128, { atLeast: 1, atMost: 100_000 })
    this.#isCyclic = args.boolean('cyclic', false)
    args.integer('packing_num_proc', 1, { atLeast: 1 })
    return super.open(args, pace)
  }

  #setTemplate(kwargs: Kwargs): void {
    const named = 'template_cls' in kwargs ? 'template_cls' : 'template_func'
    if (this.setTemplate(kwargs, named).options.truncationStrategy !== 'split') return
    throw new CatalogueError(
      'INVALID_ARGUMENT',
      'An IterablePackingDataset cannot encode with truncation_strategy = split.',
      'Use a PackingDataset, or another truncation_strategy.',
    )
  }

  /** Rows are encoded here where that was not done before. */
  override async *stream(pace: Pace, from = 0): AsyncIterable<Row> {
    if (!this.#isPacked) throw notPacked()
    const { template } = this
    let place = 0
    let waiting: Row[] = []
    const take = (isLast: boolean): Row[][] => {
      const bins = bestFit(waiting, lengthOf, mostOf(template))
      waiting = isLast ? [] : (bins.pop() ?? [])
      return bins
    }
    let fresh = 0
    for await (const row of this.#encodedAgain(pace)) {
      waiting.push(row)
      if (++fresh % this.#interval > 0) continue
      for (const group of take(false)) if (place++ >= from) yield packed(group)
    }
    for (const group of take(true)) if (place++ >= from) yield packed(group)
  }

  /** From the beginning, and again and again where it is cyclic and any row is left. */
  async *#encodedAgain(pace: Pace): AsyncIterable<Row> {
    const { template } = this
    for (;;) {
      let isEmpty = true
      for await (const row of super.stream(pace)) {
        for (const encoded of Array.isArray(row.input_ids) ? [row] : await template.encode(row, false, pace)) {
          isEmpty = false
          yield encoded
        }
      }
      if (!this.#isCyclic || isEmpty) return
    }
  }
}

const notPacked = () =>
  new CatalogueError('INVALID_ARGUMENT', 'The data set is not packed.', 'Call pack_dataset first.')
const notEncoded = () =>
  new CatalogueError(
    'INVALID_ARGUMENT',
    'The data set is not encoded.',
    'Call set_template and encode before pack_dataset.',
  )
