// What all data sets have in common: rows under names, a template, steps that are added, and files that rows are saved to.
// When steps are carried out, and how rows are reached, is each kind's own.

import { Arguments, type Kwargs } from '../arguments.ts'
import { CatalogueError, unsupportedName } from '../catalogue-error.ts'
import { type CatalogueObject, END, type Iteration, type ObjectFunction, type World } from '../object.ts'
import type { Pace } from '../pace.ts'
import type { Row } from '../rows.ts'
import type { Template } from '../templates/index.ts'
import { type DatasetMeta, datasetMeta } from './dataset-meta.ts'
import { Saving } from './saving.ts'
import { Sources } from './sources.ts'
import { checkStep, encodeStep, filterStep, mapStep, type Step } from './steps.ts'

/** Says how others load rows; ours are there. */
const LOADING = [
  'streaming',
  'num_proc',
  'revision',
  'trust_remote_code',
  'download_mode',
  'remote_group',
  'device_mesh',
]

/** A row that a check found unfit, where rows keep their places. */
export type Slot = Row | null

export abstract class BaseDataset implements CatalogueObject {
  readonly className: string
  abstract readonly functions: Readonly<Record<string, ObjectFunction>>
  readonly iteration: Iteration
  protected readonly world: World
  protected readonly sources = new Sources()
  protected readonly saving: Saving
  #template: Template | null = null
  #place = 0
  #rows: AsyncIterator<Slot> | null = null

  constructor(className: string, world: World) {
    this.className = className
    this.world = world
    this.saving = new Saving(world)
    this.iteration = {
      position: () => this.#place,
      restore: (place) => {
        this.#rows = null
        this.#place = Number(place)
      },
    }
  }

  /** The arguments of `create` that are not the kind's own. */
  async open(args: Arguments, pace: Pace): Promise<this> {
    const meta = args.raw('dataset_meta')
    args.ignore(...LOADING)
    args.end()
    if (meta != null) await this.load(datasetMeta(meta), pace)
    return this
  }

  /** All rows in order, begun anew with each call; unfit ones may be null. */
  abstract stream(pace: Pace, from?: number): AsyncIterable<Slot>
  protected abstract apply(steps: readonly Step[][], step: Step, pace: Pace): Promise<void>
  protected abstract encoded(step: Step, pace: Pace): Promise<void>
  protected abstract checked(step: Step, pace: Pace): Promise<void>

  protected get template(): Template {
    if (this.#template) return this.#template
    throw new CatalogueError('INVALID_ARGUMENT', `This ${this.className} has no template.`, 'Call set_template first.')
  }

  /** @param named How the template's name is called among the arguments. */
  protected setTemplate(kwargs: Kwargs, named: string): Template {
    const { [named]: name, ...rest } = kwargs
    const args = new Arguments('function', 'set_template', { [named]: name })
    this.#template = this.world.template(args.text(named, undefined), rest)
    return this.#template
  }

  protected async load(meta: DatasetMeta, pace: Pace): Promise<void> {
    await this.sources.add(meta, meta.data ?? (await this.world.rows(meta, pace)), pace)
  }

  protected readonly common: Readonly<Record<string, ObjectFunction>> = {
    set_template: (kwargs) => void this.setTemplate(kwargs, 'template_func'),
    map: (kwargs, pace) => this.apply(this.sources.stepsFor(metaIn(kwargs)), mapStep(kwargs), pace),
    filter: (kwargs, pace) => this.apply(this.sources.stepsFor(metaIn(kwargs)), filterStep(kwargs), pace),
    encode: (kwargs, pace) => this.encoded(encodeStep(kwargs, this.template), pace),
    check: (kwargs, pace) => this.checked(checkStep(kwargs, this.template), pace),
    cast_column: () => {
      throw unsupportedName('function', 'cast_column', 'it is for images, and the models served here read text', [])
    },
    add_dataset: (kwargs, pace) => {
      const args = new Arguments('function', 'add_dataset', kwargs)
      const meta = args.raw('dataset_meta')
      args.ignore(...LOADING)
      args.end()
      return this.load(datasetMeta(meta), pace)
    },
    save_as: (kwargs, pace) => this.saving.begin(kwargs, () => this.stream(pace)),
    flush_save: () => this.saving.flush(),
    __iter__: () => this.iterate(),
    __next__: (_, pace) => this.next(pace),
  }

  protected iterate(): string {
    this.#rows = null
    this.#place = 0
    return 'ok'
  }

  /** Rows that a check found unfit are passed over. */
  protected async next(pace: Pace): Promise<Row | typeof END> {
    this.#rows ??= this.stream(pace, this.#place)[Symbol.asyncIterator]()
    for (;;) {
      const { done, value } = await this.#rows.next()
      if (done) return END
      this.#place++
      if (value !== null) return this.saving.note(value, pace)
    }
  }
}

function metaIn({ dataset_meta: meta }: Kwargs): DatasetMeta | null {
  return meta == null ? null : datasetMeta(meta)
}
