// Rows of a batch made equal in length, or put one behind the other, as tensors of other frameworks need it. Our engines need
// neither: they take rows as they are, so what was padded or packed here can be taken apart again without loss.

import type { Arguments } from '../arguments.ts'
import { CatalogueError } from '../catalogue-error.ts'
import { IGNORED, type InputFeature, invalidRow, isRow, type Row } from '../rows.ts'

/** Lists with one element a token, and what stands in the place of a token that is none. */
const PADDING = {
  input_ids: 0,
  labels: IGNORED,
  attention_mask: 0,
  position_ids: -1,
  completion_mask: 0,
  loss_scale: 0,
} as const
type TokenField = keyof typeof PADDING
const TOKEN_FIELDS = Object.keys(PADDING) as TokenField[]

/** A few long rows among many short ones would take far more memory than they came with. */
const MOST_CELLS = 2 ** 24

export interface InputProcessorOptions {
  readonly paddingSide: 'right' | 'left'
  /** True: one row, in which positions begin anew with each of the given ones. */
  readonly paddingFree: boolean
}

export function inputProcessorOptions(args: Arguments): InputProcessorOptions {
  args.ignore('device_mesh', 'remote_group', 'framework', 'adapter_name')
  const options = {
    paddingSide: args.choice('padding_side', 'right', ['right', 'left']),
    paddingFree: args.boolean('padding_free', false),
  }
  args.end()
  return options
}

export class InputProcessor {
  readonly options: InputProcessorOptions

  constructor(options: InputProcessorOptions) {
    this.options = options
  }

  /**
   * Rows stay rows: as many as came, all of the length of the longest, or a single one without padding. Fields that are not
   * of tokens travel along; packed, as lists of what each row had. Throws INVALID_ROW.
   */
  process(inputs: unknown): Row[] {
    const rows = (Array.isArray(inputs) ? inputs : [inputs]).map(checked)
    if (rows.length === 0) return []
    return this.options.paddingFree ? [packed(rows)] : this.#padded(rows)
  }

  #padded(rows: readonly Checked[]): Row[] {
    const most = rows.reduce((length, { input_ids: ids }) => Math.max(length, ids.length), 0)
    if (most * rows.length > MOST_CELLS) throw tooLarge(rows.length, most)
    return rows.map((row) => {
      const missing = most - row.input_ids.length
      const lists = fieldsOf([row]).map((field) => {
        const fill: number[] = Array(missing).fill(PADDING[field])
        return [field, this.options.paddingSide === 'right' ? [...row[field], ...fill] : [...fill, ...row[field]]]
      })
      return { ...row, ...Object.fromEntries(lists) }
    })
  }
}

/** Rows one behind the other: lists of tokens are joined, everything else becomes a list with an entry for each row. */
export function packed(rows: readonly Row[]): Row {
  const [first = {}] = rows
  const fields = fieldsOf(rows)
  const joined = Object.keys(first).map((key) => {
    const values = rows.map((row) => row[key])
    return [key, (fields as string[]).includes(key) ? values.flat() : values]
  })
  return Object.fromEntries(joined)
}

/**
 * What a row was before it was padded or packed: tokens that are masked out are gone, and where positions begin anew another
 * row begins. A row that was neither comes back alone, without a copy.
 */
export function unprocessed(row: Row & Pick<InputFeature, 'input_ids'>): (Row & Pick<InputFeature, 'input_ids'>)[] {
  const { attention_mask: mask, position_ids: positions } = row
  const tokens = row.input_ids.map((_, i) => i).filter((i) => !Array.isArray(mask) || mask[i] !== 0)
  const starts = tokens.filter((i, place) => place === 0 || (Array.isArray(positions) && positions[i] === 0))
  if (starts.length <= 1 && tokens.length === row.input_ids.length) return [row]
  return starts.map((start, n) => {
    const own = tokens.filter((i) => i >= start && i < (starts[n + 1] ?? Number.POSITIVE_INFINITY))
    const lists = fieldsOf([row]).map((field) => [field, own.map((i) => (row[field] as readonly number[])[i])])
    return { ...row, ...Object.fromEntries(lists) }
  })
}

function tooLarge(rows: number, length: number): CatalogueError {
  return new CatalogueError(
    'TOO_LONG',
    `${rows} rows padded to ${length} tokens each are more than ${MOST_CELLS} tokens.`,
    'Use padding_free=true, or smaller batches.',
  )
}

type Checked = Row & Readonly<Record<TokenField, readonly number[]>>

function checked(row: unknown): Checked {
  if (!isRow(row) || !Array.isArray(row.input_ids))
    throw invalidRow('of inputs has no input_ids', 'Encode the data first.')
  const { length } = row.input_ids
  const wrong = TOKEN_FIELDS.find(
    (field) => row[field] != null && (!Array.isArray(row[field]) || row[field].length !== length),
  )
  if (wrong !== undefined) throw invalidRow(`of inputs has ${length} input_ids, but ${wrong} is no list of that length`)
  const known = { attention_mask: Array(length).fill(1), position_ids: [...row.input_ids.keys()] }
  return { ...known, ...row } as unknown as Checked
}

/** Those that all rows have. */
function fieldsOf(rows: readonly Row[]): TokenField[] {
  return TOKEN_FIELDS.filter((field) => rows.every((row) => Array.isArray(row[field])))
}
