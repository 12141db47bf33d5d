// Rows as text and back: JSON, JSON lines and CSV. Knows no files: whoever reads them gives their text.

import { invalidArgument, unsupportedName } from '../catalogue-error.ts'
import { isRow, type Row } from '../rows.ts'

export const TABLE_FORMATS = ['jsonl', 'json', 'csv'] as const
export type TableFormat = (typeof TABLE_FORMATS)[number]

/** By the end of a file's name. Throws CatalogueError UNSUPPORTED_NAME for formats that are not read here, such as parquet. */
export function formatOf(path: string, given: string | null = null): TableFormat {
  const named = given ?? /\.([^./\\]+)$/.exec(path)?.[1]?.toLowerCase() ?? ''
  const format = TABLE_FORMATS.find((format) => format === named)
  if (format) return format
  const reason =
    named === 'parquet' || named === 'pq'
      ? 'its binary columns are not read here'
      : 'it is none of the formats of tables'
  throw unsupportedName('table format', named, reason, TABLE_FORMATS)
}

/** @param where For refusals. Throws CatalogueError INVALID_ARGUMENT for text that is not of the format. */
export function rowsOfText(text: string, format: TableFormat, where: string): Row[] {
  const plain = text.replace(/^\uFEFF/, '')
  if (format === 'csv') return rowsOfCsv(plain, where)
  if (format === 'json' && plain.trimStart().startsWith('[')) return listOfJson(plain, where)
  return plain
    .split('\n')
    .flatMap((line, i) => (line.trim() === '' ? [] : [rowOfJson(line, `line ${i + 1} of ${where}`)]))
}

/** The lines of a file. CSV needs all rows to have the columns of the first. */
export function linesOfRows(rows: readonly Row[], format: TableFormat): string[] {
  if (format !== 'csv') return rows.map((row) => `${JSON.stringify(row)}\n`)
  const columns = Object.keys(rows[0] ?? {})
  return [columns, ...rows.map((row) => columns.map((column) => row[column]))].map(
    (cells) => `${cells.map(cell).join(',')}\n`,
  )
}

function cell(value: unknown): string {
  const text = value == null ? '' : typeof value === 'object' ? JSON.stringify(value) : String(value)
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text
}

function listOfJson(text: string, where: string): Row[] {
  const list = parsed(text, where)
  if (Array.isArray(list) && list.every(isRow)) return list
  throw refused(where, 'a list of objects')
}

/** A line of JSON lines. Throws CatalogueError INVALID_ARGUMENT. */
export function rowOfJson(line: string, where: string): Row {
  const row = parsed(line, where)
  if (isRow(row)) return row
  throw refused(where, 'a JSON object')
}

function parsed(text: string, where: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    throw refused(where, 'valid JSON')
  }
}

/** RFC 4180, with a header. A column whose cells are all numbers holds numbers; everything else is text. */
function rowsOfCsv(text: string, where: string): Row[] {
  const [header, ...lines] = cellsOfCsv(text, where)
  if (!header) return []
  const wrong = lines.findIndex((line) => line.length !== header.length)
  if (wrong >= 0) throw refused(`record ${wrong + 2} of ${where}`, `of ${header.length} cells, as the header`)
  const isNumeric = header.map((_, c) => lines.every((line) => isNumber(line[c] as string)))
  return lines.map((line) =>
    Object.fromEntries(header.map((name, c) => [name, isNumeric[c] ? Number(line[c]) : (line[c] as string)])),
  )
}

const isNumber = (text: string) => /^[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?$/.test(text)

const CELL = /(?:"((?:[^"]|"")*)"|([^",\r\n]*))(,|\r?\n|$)/gy

function cellsOfCsv(text: string, where: string): string[][] {
  const lines: string[][] = []
  let line: string[] = []
  CELL.lastIndex = 0
  while (CELL.lastIndex < text.length) {
    const match = CELL.exec(text)
    if (!match) throw refused(where, 'CSV with closed quotes')
    const [, quoted, plain = '', end] = match
    line.push(quoted === undefined ? plain : quoted.replaceAll('""', '"'))
    if (end === ',' && CELL.lastIndex === text.length) line.push('')
    if (end !== ',' || CELL.lastIndex === text.length) {
      lines.push(line)
      line = []
    }
  }
  return lines.filter((cells) => cells.length > 1 || cells[0] !== '')
}

const refused = (where: string, wanted: string) =>
  invalidArgument('data set', 'DatasetMeta', 'dataset_id', where, wanted)
