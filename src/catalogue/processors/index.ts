// The processors by name: what is done to the rows of a batch.

import { Arguments, type Kwargs } from '../arguments.ts'
import { unknownName } from '../catalogue-error.ts'
import { InputProcessor, inputProcessorOptions } from './input-processor.ts'

export { InputProcessor, packed, unprocessed } from './input-processor.ts'

export const PROCESSOR_NAMES = ['InputProcessor']

/** Throws CatalogueError: UNKNOWN_NAME and those of arguments. */
export function createProcessor(name: string, kwargs: Kwargs): InputProcessor {
  if (!PROCESSOR_NAMES.includes(name)) throw unknownName('processor', name, PROCESSOR_NAMES)
  return new InputProcessor(inputProcessorOptions(new Arguments('processor', name, kwargs)))
}
