// Rows of Twinkle's protocol (InputFeature) as training data, and log-probabilities back as rows. Labels come shifted: that of
// position t is the token to predict from t, and -100 counts for nothing. What losses read besides comes as keyword
// arguments: for each row a number, a list over its labels that count, or one over all its positions.

import type { TrainingDatum } from '../../backends/backend.ts'
import type { Kwargs } from '../../catalogue/arguments.ts'
import { serviceError } from '../errors.ts'

type Row = Readonly<Record<string, unknown>>

/** One row: its datum, and which of its positions the datum has (padding is left out). */
export interface EncodedRow {
  readonly datum: TrainingDatum
  /** Positions of the row, ascending. */
  readonly positions: readonly number[]
  /** Of the row, with padding. */
  readonly length: number
}

const IGNORED_LABEL = -100
const MEDIA = /^(pixel_values|image|video|audio|input_features)/

/** @param inputs one row or a list of them, each with `input_ids`; throws UNFIT_ROW */
export function rowsOf(inputs: unknown): readonly Row[] {
  const rows = Array.isArray(inputs) ? inputs : [inputs]
  if (rows.length === 0) throw serviceError('NO_DATA')
  return rows
}

/** Whether rows are conversations, which a template has to encode first. */
export const areConversations = ([first]: readonly Row[]): boolean => first !== undefined && !('input_ids' in first)

/** Throws UNFIT_ROW that names row and field. */
export function encodeRows(rows: readonly Row[], kwargs: Kwargs): EncodedRow[] {
  return withInputs(rows.map(encodeRow), kwargs)
}

/** The same rows with what a loss reads besides; what they had of it stays where nothing is given. */
export function withInputs(encoded: readonly EncodedRow[], kwargs: Kwargs): EncodedRow[] {
  const given = {
    logprobs: kwargs.old_logps,
    ref_logps: kwargs.ref_logps ?? (kwargs.ref_outputs as Row | null | undefined)?.logps,
    advantages: kwargs.advantages,
  }
  const inputs = Object.entries(given).filter(([, value]) => value !== null && value !== undefined)
  return encoded.map((row, i) => {
    const values = inputs.map(([field, value]) => [
      field,
      alignedTo(row, entryOf(value, i, encoded.length, field), i, field),
    ])
    return {
      ...row,
      datum: { ...row.datum, ...Object.fromEntries(values), ...teacherOf(row, kwargs, i, encoded.length) },
    }
  })
}

/**
 * Rows whose last token's hidden state is their embedding: each has one label, 1 for an anchor and 0 for what belongs to it,
 * which stands at that token. Throws UNFIT_ROW.
 */
export function encodeToEmbed(rows: readonly Row[]): EncodedRow[] {
  return rows.map((row, index) => {
    const refuse = refusal(index)
    const { ids, positions } = tokensOf(row, refuse)
    const [label, ...more] = integers(row.labels, 'labels', refuse)
    if ((label !== 0 && label !== 1) || more.length) {
      refuse('has labels other than [1], for an anchor, or [0], for what belongs to it')
    }
    const last = positions.length - 1
    const datum: TrainingDatum = {
      tokens: Int32Array.from(positions, (i) => ids[i] as number),
      targets: Int32Array.from(positions, (_, at) => (at === last ? (label as number) : 0)),
      width: 1,
      mask: Float32Array.from(positions, (_, at) => (at === last ? 1 : 0)),
    }
    return { datum, positions, length: ids.length }
  })
}

const refusal =
  (index: number) =>
  (problem: string): never => {
    throw serviceError('UNFIT_ROW', { index, problem })
  }

/** The tokens of a row, and which of its positions are no padding. */
function tokensOf(row: Row, refuse: (problem: string) => never) {
  const media = Object.keys(row).find((key) => MEDIA.test(key) && row[key] !== null)
  if (media !== undefined) refuse(`has ${media}, and the models here read text alone`)
  const ids = integers(row.input_ids, 'input_ids', refuse)
  const mask = row.attention_mask == null ? null : integers(row.attention_mask, 'attention_mask', refuse)
  if (mask && mask.length !== ids.length) refuse(`has ${ids.length} input_ids and an attention_mask of ${mask.length}`)
  const positions = ids.flatMap((_, i) => (mask === null || mask[i] !== 0 ? [i] : []))
  if (positions.length === 0) refuse('has no tokens')
  checkPositions(row.position_ids, positions, refuse)
  return { ids, positions }
}

/** The teacher's likeliest tokens at each position are the targets there: [N, K]. */
function teacherOf({ positions, length }: EncodedRow, kwargs: Kwargs, index: number, rows: number) {
  const { teacher_topk_logprobs: logprobs, teacher_topk_indices: indices } = kwargs
  if (logprobs == null && indices == null) return {}
  const refuse = refusal(index)
  const table = (given: unknown, field: string, isFit: (value: unknown) => boolean) => {
    const entry = entryOf(given, index, rows, field)
    const isTable = Array.isArray(entry) && entry.length === length && entry.every((cells) => Array.isArray(cells))
    if (!isTable) return refuse(`needs a list of tokens for each of its ${length} positions in ${field}`)
    const cells = positions.map((i) => entry[i] as unknown[])
    const width = cells[0]?.length ?? 0
    if (width === 0 || cells.some((row) => row.length !== width || !row.every(isFit))) {
      return refuse(`has ${field} that are not equally many numbers at every position`)
    }
    return { width, cells: cells.flat() as number[] }
  }
  const tokens = table(indices, 'teacher_topk_indices', isToken)
  const scores = table(logprobs, 'teacher_topk_logprobs', isNumber)
  if (tokens.width !== scores.width) refuse(`has ${tokens.width} teacher_topk_indices and ${scores.width} logprobs`)
  const targets = Int32Array.from(tokens.cells)
  return { targets, width: tokens.width, teacher_topk_logprobs: Float32Array.from(scores.cells) }
}

function encodeRow(row: Row, index: number): EncodedRow {
  const refuse = refusal(index)
  const { ids, positions } = tokensOf(row, refuse)
  const labels = row.labels === undefined || row.labels === null ? refuse('has no labels') : row.labels
  const wanted = integers(labels, 'labels', refuse)
  if (wanted.length !== ids.length) refuse(`has ${ids.length} input_ids and ${wanted.length} labels`)
  const counts = positions.map((i) => wanted[i] !== IGNORED_LABEL)
  const datum: TrainingDatum = {
    tokens: Int32Array.from(positions, (i) => ids[i] as number),
    targets: Int32Array.from(positions, (i, at) => (counts[at] ? (wanted[i] as number) : 0)),
    width: 1,
    mask: Float32Array.from(counts, Number),
  }
  return { datum, positions, length: ids.length }
}

/** Several sequences in one row count from 0 again; each would see the ones before it. */
function checkPositions(given: unknown, positions: readonly number[], refuse: (problem: string) => never): void {
  if (given === null || given === undefined) return
  const ids = integers(given, 'position_ids', refuse)
  const isPlain = positions.every((i, at) => ids[i] === at)
  if (!isPlain) refuse('has position_ids that do not count from 0: rows that are packed are sent one by one here')
}

/** A list, or one in a list: what tensors of one row look like. */
function integers(given: unknown, field: string, refuse: (problem: string) => never): number[] {
  const list = Array.isArray(given) && given.length === 1 && Array.isArray(given[0]) ? given[0] : given
  if (!Array.isArray(list)) return refuse(`has ${field} that are no list`)
  const wrong = list.findIndex((value) => !isToken(value))
  if (wrong >= 0) refuse(`has ${JSON.stringify(list[wrong])?.slice(0, 40)} in ${field}, which is no token`)
  return list
}

/** One number for all rows, or one entry for each. */
function entryOf(given: unknown, index: number, rows: number, field: string): unknown {
  if (!Array.isArray(given)) return given
  if (given.length === rows) return given[index]
  throw serviceError('UNFIT_ROW', { index, problem: `${field} has ${given.length} entries for ${rows} rows` })
}

function alignedTo({ datum, positions, length }: EncodedRow, given: unknown, index: number, field: string) {
  const refuse = (problem: string) => serviceError('UNFIT_ROW', { index, problem: `${field} ${problem}` })
  const mask = datum.mask as Float32Array
  const values = Array.isArray(given) && given.length === 1 && Array.isArray(given[0]) ? given[0] : given
  if (isNumber(values)) return mask.map((counts) => counts * values)
  if (!Array.isArray(values) || !values.every(isNumber)) throw refuse('must be numbers')
  const counted = mask.reduce((sum, one) => sum + one, 0)
  if (values.length === length) return Float32Array.from(positions, (i, at) => (mask[at] ? (values[i] as number) : 0))
  if (values.length !== counted) throw refuse(`has ${values.length} values; ${counted} labels count, of ${length}`)
  let next = 0
  return mask.map((counts) => (counts ? (values[next++] as number) : 0))
}

const isToken = (value: unknown) => Number.isSafeInteger(value) && Math.abs(value as number) <= 0x7fffffff
const isNumber = (value: unknown): value is number => typeof value === 'number' && Number.isFinite(value)

/** Numbers by position of the datum as a row of the request's length: 0 where nothing counts, and at padding. */
export function decodeRow({ datum, positions, length }: EncodedRow, values: ArrayLike<number>): number[] {
  const row = new Array<number>(length).fill(0)
  positions.forEach((i, at) => {
    const value = values[at] ?? 0
    if (datum.mask?.[at] && Number.isFinite(value)) row[i] = value
  })
  return row
}

/** How many labels count. */
export function countOf(rows: readonly EncodedRow[]): number {
  return rows.reduce((sum, { datum: { mask } }) => sum + (mask?.reduce((count, one) => count + one, 0) ?? 0), 0)
}
