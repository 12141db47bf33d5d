// What may be made by name and then called: a data set, a loader, a reward... An object says which of its functions may be
// called, and those are all there is: names from outside never reach anything else of it.
// Knows no kind of object; `objects.ts` has them all.

import type { Kwargs } from './arguments.ts'
import { unknownName } from './catalogue-error.ts'
import type { DatasetMeta } from './datasets/dataset-meta.ts'
import type { Pace } from './pace.ts'
import type { Row } from './rows.ts'
import type { Template } from './templates/index.ts'

export type ObjectFunction = (kwargs: Kwargs, pace: Pace) => unknown

export interface CatalogueObject {
  readonly className: string
  /** By the names that callers use. Results are JSON. */
  readonly functions: Readonly<Record<string, ObjectFunction>>
  /** Where an iteration stands, as JSON, for objects that are iterated. */
  readonly iteration?: Iteration
}

/** An iteration over what an object gives, one `next` after the other. */
export interface Iteration {
  position(): unknown
  /** Of the same object made anew. */
  restore(position: unknown): void
}

/** What `__next__` gives when there is no more. */
export const END = Symbol('end of an iteration')

/** What objects need of their surroundings: a server's, or a script's. All throw CatalogueError, or errors of their own. */
export interface World {
  /** @param kwargs `model_id` names the model. */
  template(name: string, kwargs: Kwargs): Template
  /** Everything that there is under a name, before any slice. */
  rows(meta: DatasetMeta, pace: Pace): Promise<readonly Row[]>
  /** Writes a file of the caller's own. */
  save(path: string, lines: AsyncIterable<string>): Promise<void>
}

/** Throws CatalogueError: UNKNOWN_NAME for a function that may not be called, else what the function throws. */
export async function callObject(object: CatalogueObject, name: string, kwargs: Kwargs, pace: Pace): Promise<unknown> {
  const { className, functions } = object
  const called = Object.hasOwn(functions, name) ? functions[name] : undefined
  if (!called) throw unknownName(`function of ${className}`, name, Object.keys(functions))
  return (await called(kwargs, pace)) ?? null
}
