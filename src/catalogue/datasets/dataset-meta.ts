// Which rows are meant: a name or rows that come along, and a slice of them. Comes as Twinkle's clients send it: a JSON text
// inside JSON with `_TWINKLE_TYPE_`, or the object itself.

import { CatalogueError, invalidArgument } from '../catalogue-error.ts'
import { isRow, type Row } from '../rows.ts'

export interface DatasetMeta {
  /** Tells data sets of one object apart: what is added, mapped and filtered by the same name is the same. */
  readonly key: string
  readonly id: string
  readonly subset: string
  readonly split: string
  /** Rows that came along. */
  readonly data: readonly Row[] | null
  readonly slice: Slice | null
}

/** Indices of rows. Beyond the end they begin anew at 0, as Twinkle's do, so that a slice may be longer than the data. */
export type Slice =
  | { readonly type: 'range'; readonly start: number; readonly stop: number; readonly step: number }
  | { readonly type: 'list'; readonly values: readonly number[] }

/** Rows of one data set. */
export const MOST_ROWS = 1_000_000

/** Throws CatalogueError INVALID_ARGUMENT. */
export function datasetMeta(given: unknown): DatasetMeta {
  const fields = typeof given === 'string' ? parsed(given) : given
  if (!isRow(fields)) throw refused('dataset_meta', given, 'a DatasetMeta')
  const data = fields.data == null ? null : rowsOf(fields.data)
  const id = textOf(fields, 'dataset_id', '')
  if (data === null && id === '') throw refused('dataset_id', '', 'a name, where no rows come along in data')
  const subset = textOf(fields, 'subset_name', 'default')
  const split = textOf(fields, 'split', 'train')
  const key = JSON.stringify([data === null ? id : 'rows', subset, split])
  return { key, id, subset, split, data, slice: fields.data_slice == null ? null : sliceOf(fields.data_slice) }
}

/** Throws CatalogueError INVALID_ARGUMENT for indices before 0, TOO_LONG for more than MOST_ROWS of them. */
export function sliced(rows: readonly Row[], slice: Slice | null): readonly Row[] {
  if (slice === null) return checkCount(rows)
  if (rows.length === 0) return rows
  return indicesOf(slice).map((index) => rows[index % rows.length] as Row)
}

/** So many rows from the beginning are enough for a slice: beyond them it has no index. */
export function rowsNeeded(slice: Slice | null): number {
  if (slice === null) return MOST_ROWS + 1
  return indicesOf(slice).reduce((most, index) => Math.max(most, index + 1), 0)
}

/** Throws CatalogueError TOO_LONG. */
export function checkCount<T>(rows: readonly T[]): readonly T[] {
  if (rows.length <= MOST_ROWS) return rows
  throw tooMany(rows.length)
}

function indicesOf(slice: Slice): readonly number[] {
  if (slice.type === 'list') return slice.values
  const { start, stop, step } = slice
  const count = Math.max(0, Math.ceil((stop - start) / step))
  if (count > MOST_ROWS) throw tooMany(count)
  const last = start + (count - 1) * step
  if (count > 0 && Math.min(start, last) < 0) throw refused('data_slice', slice, 'indices from 0')
  return Array.from({ length: count }, (_, i) => start + i * step)
}

function sliceOf(given: unknown): Slice {
  const fields = isRow(given) ? given : {}
  const { start = 0, stop, step = 1, values } = fields
  const isRange = fields._slice_type_ === 'range'
  if (isRange && [start, stop, step].every(Number.isSafeInteger) && step !== 0) {
    return { type: 'range', start: start as number, stop: stop as number, step: step as number }
  }
  if (fields._slice_type_ === 'list' && Array.isArray(values)) {
    if (values.length > MOST_ROWS) throw tooMany(values.length)
    if (values.every((value) => Number.isSafeInteger(value) && value >= 0)) return { type: 'list', values }
  }
  throw refused(
    'data_slice',
    given,
    'null, a range {"_slice_type_": "range", start, stop, step} or a list {"_slice_type_": "list", values} of indices from 0',
  )
}

/** A list of rows, or an object of columns of equal length. */
function rowsOf(data: unknown): readonly Row[] {
  if (Array.isArray(data) && data.every(isRow)) return checkCount(data)
  const columns = isRow(data) ? Object.entries(data) : []
  const [first] = columns
  const isTable =
    first !== undefined && columns.every(([, c]) => Array.isArray(c) && c.length === (first[1] as unknown[]).length)
  if (!isTable) throw refused('data', data, 'a list of rows, or an object of columns of equal length')
  const rows = checkCount(first[1] as readonly unknown[])
  return rows.map((_, i) => Object.fromEntries(columns.map(([name, column]) => [name, (column as unknown[])[i]])))
}

function textOf(fields: Row, name: string, fallback: string): string {
  const value = fields[name] ?? fallback
  if (typeof value === 'string') return value
  throw refused(name, value, 'a text')
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    throw refused('dataset_meta', text, 'a DatasetMeta as JSON')
  }
}

const refused = (argument: string, given: unknown, wanted: string) =>
  invalidArgument('data set', 'DatasetMeta', argument, given, wanted)

function tooMany(count: number): CatalogueError {
  return new CatalogueError(
    'TOO_LONG',
    `A data set of ${count} rows is larger than ${MOST_ROWS}.`,
    'Take a smaller data_slice.',
  )
}
