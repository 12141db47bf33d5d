// Rows into a file: all of them at once, or those that training has used, which are noted until they are asked for.

import { Arguments, type Kwargs } from '../arguments.ts'
import type { World } from '../object.ts'
import type { Pace } from '../pace.ts'
import type { Row } from '../rows.ts'
import { sizeOf } from './size.ts'
import { formatOf, linesOfRows, type TableFormat } from './table-text.ts'

interface Opened {
  readonly path: string
  readonly format: TableFormat
  readonly rows: Row[]
}

export class Saving {
  readonly #world: World
  #noted: Opened | null = null

  constructor(world: World) {
    this.#world = world
  }

  /** Arguments of `save_as`. Throws CatalogueError for a format that is not written here, and what the world throws. */
  async begin(kwargs: Kwargs, rows: () => AsyncIterable<Row | null>): Promise<void> {
    const args = new Arguments('function', 'save_as', kwargs)
    const path = args.text('output_path', undefined)
    const format = formatOf(path, args.textOrNull('format', null))
    const mode = args.choice('mode', 'immediate', ['immediate', 'training'])
    args.ignore('batch_size')
    args.end()
    if (mode === 'training') this.#noted = { path, format, rows: [] }
    else await this.#world.save(path, written(rows(), format))
  }

  /** A row that is given out. */
  note(row: Row, pace: Pace): Row {
    if (this.#noted) {
      pace.hold(sizeOf(row))
      this.#noted.rows.push(row)
    }
    return row
  }

  async flush(): Promise<void> {
    const noted = this.#noted
    if (!noted) return
    this.#noted = null
    await this.#world.save(noted.path, written(inTurn(noted.rows), noted.format))
  }
}

async function* written(rows: AsyncIterable<Row | null>, format: TableFormat): AsyncIterable<string> {
  let columns: readonly string[] | null = null
  for await (const row of rows) {
    if (row === null) continue
    const [first = '', second] = linesOfRows([format === 'csv' && columns ? pick(row, columns) : row], format)
    if (second === undefined) yield first
    else yield columns ? second : first + second
    columns ??= Object.keys(row)
  }
}

const pick = (row: Row, columns: readonly string[]): Row => Object.fromEntries(columns.map((name) => [name, row[name]]))

async function* inTurn(rows: readonly Row[]): AsyncIterable<Row> {
  yield* rows
}
