// Rows of a data set in batches, epoch by epoch. Where it stands is one number, the samples that were consumed since the first
// epoch began: from it any loader of the same data set and arguments goes on exactly there.

import { Arguments, type Kwargs } from '../arguments.ts'
import { CatalogueError } from '../catalogue-error.ts'
import type { BaseDataset, Slot } from '../datasets/base-dataset.ts'
import type { Dataset } from '../datasets/dataset.ts'
import type { IterableDataset, LazyDataset } from '../datasets/lazy-dataset.ts'
import { type CatalogueObject, END, type Iteration, type ObjectFunction } from '../object.ts'
import type { Pace } from '../pace.ts'
import { createProcessor, type InputProcessor } from '../processors/index.ts'
import type { Row } from '../rows.ts'
import { orderOf } from './order.ts'

/** Reached by places, or only gone through. */
export type Loadable = Dataset | LazyDataset | IterableDataset

export interface LoaderOptions {
  readonly batchSize: number
  /** A last batch that is smaller is left out. */
  readonly minBatchSize: number
  /** null: rows in their order. */
  readonly seed: number | null
}

/** How others load: ours has no workers, and rows need not be asked for again. */
const LOADING = [
  'max_retries',
  'num_workers',
  'pin_memory',
  'prefetch_factor',
  'persistent_workers',
  'timeout',
  'device_mesh',
  'remote_group',
]
const MOST_IN_BATCH = 65_536
/** Twinkle's, where nobody gives one. */
const DEFAULT_SEED = 42

export function loaderOptions(args: Arguments): LoaderOptions {
  args.ignore(...LOADING, 'dataset')
  const batchSize = args.integer('batch_size', undefined, { atLeast: 1, atMost: MOST_IN_BATCH })
  const least = args.integerOrNull('min_batch_size', null, { atLeast: 1, atMost: batchSize }) ?? 1
  const isShuffled = args.boolean('shuffle', false)
  const seed = args.integer('seed', DEFAULT_SEED, { atLeast: 0, atMost: 2 ** 32 - 1 })
  const options = {
    batchSize,
    minBatchSize: args.boolean('drop_last', false) ? batchSize : least,
    seed: isShuffled ? seed : null,
  }
  args.end()
  return options
}

export class DataLoader implements CatalogueObject {
  readonly className = 'DataLoader'
  readonly #dataset: Loadable
  readonly #options: LoaderOptions
  #processor: InputProcessor | null = null
  /** Samples since the first epoch began. */
  #consumed = 0
  /** The epoch being gone through; null: `__iter__` begins the next. */
  #epoch: Epoch | null = null

  constructor(dataset: Loadable, options: LoaderOptions) {
    this.#dataset = dataset
    this.#options = options
    if (options.seed !== null && !isIndexed(dataset)) throw notIndexed(dataset, 'shuffled')
  }

  readonly functions: Readonly<Record<string, ObjectFunction>> = {
    __len__: () => {
      const { batchSize } = this.#options
      return Math.ceil(this.#perEpoch('counted') / batchSize)
    },
    set_processor: (kwargs) => {
      const { processor_cls: name, ...rest } = kwargs
      const args = new Arguments('function', 'set_processor', { processor_cls: name })
      this.#processor = createProcessor(args.text('processor_cls', undefined), rest)
    },
    __iter__: () => {
      this.#begin()
      return 'ok'
    },
    __next__: (_, pace) => this.#next(pace),
    skip_consumed_samples: (kwargs) => this.#goOn(kwargs),
    resume_from_checkpoint: (kwargs) => this.#goOn(kwargs),
    get_state: () => ({ consumed_train_samples: this.#consumed }),
  }

  readonly iteration: Iteration = {
    position: () => {
      const { number = null, start = 0, place = 0 } = this.#epoch ?? {}
      return { consumed: this.#consumed, number, start, place } satisfies Position
    },
    restore: (position) => {
      const { consumed, number, start, place } = position as Position
      this.#consumed = consumed
      this.#epoch = number === null ? null : this.#epochAt(number, start)
      if (this.#epoch) this.#epoch.place = place
    },
  }

  /**
   * A loop over the loader is an epoch. The first one after a resume begins in the middle of the epoch that was left, and one
   * that is begun anew before it ended is that epoch once more.
   */
  #begin(): void {
    const perEpoch = isIndexed(this.#dataset) ? this.#perEpoch('counted') : 0
    if (this.#epoch && !this.#epoch.isOver) this.#consumed -= this.#epoch.place - this.#epoch.start
    const number = perEpoch ? Math.floor(this.#consumed / perEpoch) : 0
    const place = perEpoch ? this.#consumed % perEpoch : this.#epoch ? 0 : this.#consumed
    this.#epoch = this.#epochAt(number, place)
  }

  async #next(pace: Pace): Promise<readonly Row[] | typeof END> {
    if (!this.#epoch) this.#begin()
    const epoch = this.#epoch as Epoch
    const rows = await epoch.take(this.#options.batchSize, pace)
    if (rows.length < this.#options.minBatchSize) {
      epoch.isOver = true
      // Rows that were unfit, or too few for a batch, are over too.
      if (isIndexed(this.#dataset)) this.#consumed = (epoch.number + 1) * this.#perEpoch('counted')
      return END
    }
    this.#consumed += epoch.taken
    return this.#processor ? this.#processor.process(rows) : rows
  }

  #goOn(kwargs: Kwargs): void {
    const args = new Arguments('function', 'skip_consumed_samples', kwargs)
    this.#consumed = args.integerOrNull('consumed_train_samples', null, { atLeast: 0 }) ?? 0
    this.#epoch = null
  }

  #epochAt(number: number, place: number): Epoch {
    const dataset = this.#dataset
    if (!isIndexed(dataset)) return new Epoch(number, place, (from, pace) => dataset.stream(pace, from))
    const order = orderOf(this.#perEpoch('all'), this.#options.seed, number)
    return new Epoch(number, place, (from, pace) => inOrder(dataset, order, from, pace))
  }

  /** Rows of an epoch; `counted` leaves those of a last batch out that is too small. */
  #perEpoch(which: 'all' | 'counted'): number {
    if (!isIndexed(this.#dataset)) throw notIndexed(this.#dataset, 'counted')
    const { length } = this.#dataset
    const { batchSize, minBatchSize } = this.#options
    const rest = length % batchSize
    return which === 'counted' && rest < minBatchSize ? length - rest : length
  }
}

interface Position {
  readonly consumed: number
  readonly number: number | null
  readonly start: number
  readonly place: number
}

/** One way through all rows, from a place on. */
class Epoch {
  readonly number: number
  readonly start: number
  /** Rows that were taken, those before the start included. */
  place: number
  /** By the last `take`. */
  taken = 0
  isOver = false
  readonly #open: (from: number, pace: Pace) => AsyncIterable<Slot>
  #rows: AsyncIterator<Slot> | null = null

  constructor(number: number, place: number, open: (from: number, pace: Pace) => AsyncIterable<Slot>) {
    this.number = number
    this.start = place
    this.place = place
    this.#open = open
  }

  /** The next rows, fewer at the end. Unfit ones are passed over. */
  async take(count: number, pace: Pace): Promise<Row[]> {
    this.#rows ??= this.#open(this.place, pace)[Symbol.asyncIterator]()
    const before = this.place
    const rows: Row[] = []
    while (rows.length < count) {
      const { done, value } = await this.#rows.next()
      if (done) break
      this.place++
      if (value !== null) rows.push(value)
    }
    this.taken = this.place - before
    return rows
  }
}

async function* inOrder(
  dataset: Dataset | LazyDataset,
  order: Uint32Array,
  from: number,
  pace: Pace,
): AsyncIterable<Slot> {
  for (const place of order.subarray(from)) {
    await pace.rest()
    yield await dataset.get(place, pace)
  }
}

function isIndexed(dataset: Loadable): dataset is Dataset | LazyDataset {
  return 'get' in dataset
}

function notIndexed({ className }: BaseDataset, what: string): CatalogueError {
  return new CatalogueError(
    'INVALID_ARGUMENT',
    `An ${className} cannot be ${what}: it is only gone through.`,
    'Use a Dataset.',
  )
}
