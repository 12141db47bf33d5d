// Names on the two sides: camelCase here, snake_case on the wire. Names of models lose their hub's scheme.

import { plain } from './plain.ts'

/** Keyword arguments of a class of the catalogue or an operation: `{ numWarmupSteps: 10 }` or as they are on the wire. */
export type Kwargs = Readonly<Record<string, unknown>>

/** Of the top level only: what is inside is data. Undefined is left out. Throws TwinkleError for what is no plain data. */
export function snakeKeys(kwargs: Kwargs): Record<string, unknown> {
  const given = Object.entries(kwargs).filter(([, value]) => value !== undefined)
  return Object.fromEntries(given.map(([key, value]) => [snake(key), plain(value, key)]))
}

/** `ms://org/name` -> `org/name`. */
export function baseName(model: string): string {
  return model.replace(/^[a-z]+:\/\//, '')
}

function snake(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)
}
