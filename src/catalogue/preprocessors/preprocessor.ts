// What a preprocessor is: it makes columns of a row from the row's other columns, most of them a conversation. Filters say
// which rows stay. Both are pure, and made from a name and arguments: no code comes from outside.

import type { Arguments } from '../arguments.ts'
import { CatalogueError } from '../catalogue-error.ts'
import type { Message, Row } from '../rows.ts'

/** Gives the columns that are new or other. Throws INVALID_ROW. */
export type Preprocess = (row: Row) => Row
export type Keep = (row: Row) => boolean

export type MakePreprocess = (args: Arguments) => Preprocess

export const message = (role: 'system' | 'user' | 'assistant', content: string): Message => ({ role, content })

/** A system turn, where there is one to be. */
export const system = (content: string | null): Message[] => (content ? [message('system', content)] : [])

export function noImages(name: string): CatalogueError {
  return new CatalogueError(
    'UNSUPPORTED_NAME',
    `The preprocessor ${name} makes rows with images, which the text models served here cannot read.`,
    'Use data of texts.',
  )
}
