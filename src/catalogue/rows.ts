// The shapes that data has on its way from a file to the model, as they travel in JSON: hence the names of their fields. Knows
// no template and no data set; says what is wrong with a row in words that name it.

import { CatalogueError } from './catalogue-error.ts'

/** One row of a data set: whatever columns it has. */
export type Row = Readonly<Record<string, unknown>>

export interface Message {
  readonly role: string
  readonly content: unknown
  readonly [field: string]: unknown
}

/** A conversation, as training sees it. Other fields travel along. */
export interface Trajectory extends Row {
  readonly messages: readonly Message[]
  readonly tools?: readonly unknown[] | null
  /** Pairs of a name and what was noted under it. */
  readonly user_data?: readonly unknown[] | null
}

/** What a model trains on. All lists have one element a token. Other fields travel along. */
export interface InputFeature extends Row {
  readonly input_ids: readonly number[]
  /** Shifted: `labels[t]` is the token to predict from position t, or -100 where nothing is learned; the last is -100. */
  readonly labels: readonly number[]
  readonly attention_mask: readonly number[]
  readonly position_ids: readonly number[]
  readonly length: number
}

/** The label of what is not learned. */
export const IGNORED = -100

/** @param problem A clause: `has no column "query"`. */
export function invalidRow(problem: string, next = 'Look at the row, or leave it out.'): CatalogueError {
  return new CatalogueError('INVALID_ROW', `A row ${problem}.`, next)
}

export function isRow(value: unknown): value is Row {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** Throws INVALID_ROW for a column that is missing or no text. */
export function textOf(row: Row, column: string): string {
  const value = row[column]
  if (typeof value === 'string') return value
  throw invalidRow(
    value === undefined ? `has no column ${JSON.stringify(column)}` : `has no text in column ${JSON.stringify(column)}`,
    `Its columns are ${Object.keys(row).join(', ')}.`,
  )
}

/** An empty text where the column is missing or null. */
export function textOrEmpty(row: Row, column: string): string {
  return row[column] == null ? '' : textOf(row, column)
}

export function isTrajectory(value: unknown): value is Trajectory {
  return isRow(value) && Array.isArray(value.messages)
}

/** What was noted under a name; values that are JSON texts are read, others are as they are. */
export function userData(row: Row, name: string): unknown {
  if (!Array.isArray(row.user_data)) return undefined
  const pair = row.user_data.find((entry) => Array.isArray(entry) && entry.length === 2 && entry[0] === name)
  if (!pair || typeof pair[1] !== 'string') return pair?.[1]
  try {
    return JSON.parse(pair[1])
  } catch {
    return pair[1]
  }
}
