// Which rows stay. Twinkle names a base class for filters and none of its own; these are ours.

import type { Arguments } from '../arguments.ts'
import { invalidRow, isTrajectory, type Row } from '../rows.ts'
import type { Keep } from './preprocessor.ts'

/** Encoded rows of a length in tokens, both ends included. */
export function LengthFilter(args: Arguments): Keep {
  const least = args.integer('min_length', 0, { atLeast: 0 })
  const most = args.integer('max_length', Number.MAX_SAFE_INTEGER, { atLeast: 0 })
  return ({ length }: Row) => {
    if (typeof length !== 'number')
      throw invalidRow('has no length', 'Encode the data before it is filtered by length.')
    return length >= least && length <= most
  }
}

/** Rows whose column holds something: a text that is not blank, a list with elements, a conversation with an answer. */
export function NonEmptyFilter(args: Arguments): Keep {
  const column = args.text('column', 'messages')
  return (row) => {
    const value = row[column]
    if (column === 'messages' && isTrajectory(row)) return row.messages.some(({ content }) => Boolean(content))
    return typeof value === 'string' ? value.trim() !== '' : Array.isArray(value) ? value.length > 0 : value != null
  }
}
