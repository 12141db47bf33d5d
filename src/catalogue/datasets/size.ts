// About how much memory a value takes, in bytes. Knows JSON's kinds of values only.

import { invalidRow } from '../rows.ts'

/** Of what an engine keeps for an object, a list or a text besides its content. */
const HEAD = 16
const DEEPEST = 64

/** Throws CatalogueError INVALID_ROW for a value that is nested deeper than rows are. */
export function sizeOf(value: unknown, depth = 0): number {
  if (typeof value === 'string') return HEAD + 2 * value.length
  if (typeof value !== 'object' || value === null) return 8
  if (depth > DEEPEST) throw invalidRow(`is nested more than ${DEEPEST} deep`)
  if (Array.isArray(value)) {
    if (typeof value[0] === 'number') return HEAD + 8 * value.length
    return value.reduce((sum: number, element) => sum + sizeOf(element, depth + 1), HEAD)
  }
  const fields = Object.entries(value)
  return fields.reduce((sum, [name, field]) => sum + 8 + name.length + sizeOf(field, depth + 1), HEAD)
}
