// What is done to the rows of a data set, one step after the other: a preprocessor, a filter, an encoding. A step makes none,
// one or several rows of one. Steps are made from names and arguments as they come.

import { Arguments, type Kwargs } from '../arguments.ts'
import { CatalogueError } from '../catalogue-error.ts'
import type { Pace } from '../pace.ts'
import { createFilter, createPreprocessor } from '../preprocessors/index.ts'
import { isRow, type Row } from '../rows.ts'
import type { Template } from '../templates/index.ts'

export type Step = (row: Row, pace: Pace) => readonly Row[] | Promise<readonly Row[]>

/** How others do the work makes no difference to what comes out. */
const WORK = [
  'batched',
  'batch_size',
  'num_proc',
  'load_from_cache_file',
  'keep_in_memory',
  'writer_batch_size',
  'desc',
]

/** New columns join those that are there, unless `remove_columns` names them. */
export function mapStep(kwargs: Kwargs): Step {
  const { args, name, init } = read(kwargs, 'map', 'preprocess_func')
  const removed = removedColumns(args)
  args.end()
  const preprocess = createPreprocessor(name, init)
  return (row) => [{ ...without(row, removed), ...preprocess(row) }]
}

export function filterStep(kwargs: Kwargs): Step {
  const { args, name, init } = read(kwargs, 'filter', 'filter_func')
  args.end()
  const keep = createFilter(name, init)
  return (row) => (keep(row) ? [row] : [])
}

export function encodeStep(kwargs: Kwargs, template: Template): Step {
  const args = new Arguments('function', 'encode', kwargs)
  const addGenerationPrompt = args.boolean('add_generation_prompt', false)
  const removed = removedColumns(args)
  args.ignore(...WORK, 'timeout')
  args.end()
  return async (row, pace) => {
    const features = (await template.encode(row, addGenerationPrompt, pace)).filter(({ length }) => length !== 0)
    return removed.length === 0 ? features : features.map((feature) => without(feature, removed))
  }
}

/** Rows that cannot be encoded are left out. */
export function checkStep(kwargs: Kwargs, template: Template): Step {
  const args = new Arguments('function', 'check', kwargs)
  args.ignore(...WORK)
  args.end()
  return async (row, pace) => ((await canEncode(row, template, pace)) ? [row] : [])
}

async function canEncode(row: Row, template: Template, pace: Pace): Promise<boolean> {
  try {
    return (await template.encode(row, false, pace)).length > 0
  } catch (error) {
    if (error instanceof CatalogueError) return false
    throw error
  }
}

/** Only names can be given: what would be code is refused. */
function read(kwargs: Kwargs, called: string, named: string): { args: Arguments; name: string; init: Kwargs } {
  const args = new Arguments('function', called, kwargs)
  const name = args.text(named, undefined)
  const given = kwargs.init_args ?? {}
  if (!isRow(given)) args.refuse('init_args', 'an object, or null')
  args.ignore('init_args', 'dataset_meta', ...WORK)
  return { args, name, init: given as Kwargs }
}

function removedColumns(args: Arguments): string[] {
  const given = args.raw('remove_columns') ?? []
  const names = typeof given === 'string' ? [given] : given
  if (Array.isArray(names) && names.every((name) => typeof name === 'string')) return names
  return args.refuse('remove_columns', 'a text, or a list of texts')
}

const without = (row: Row, columns: readonly string[]): Row =>
  columns.length === 0 ? row : Object.fromEntries(Object.entries(row).filter(([name]) => !columns.includes(name)))
