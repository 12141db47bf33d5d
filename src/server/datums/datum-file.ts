// Datums from a file: JSON or JSON lines, each a datum in Tinker's JSON shape, a list of them, or a whole request. Plain
// lists may stand for model inputs and tensors, and Python's NaN and Infinity for numbers. What is no datum is refused by
// the names of its fields.

import { readFile } from 'node:fs/promises'
import { serviceError } from '../errors.ts'
import { tokensOfJson } from '../wire/model-input.ts'
import { dense, type SparseBudget, tensorOfJson } from '../wire/tensors.ts'
import type { Column, ShownData, ShownDatum } from './shown-datum.ts'

type Fields = Readonly<Record<string, unknown>>
type Tensor = Parameters<typeof tensorOfJson>[0]

interface Found {
  loss: string | null
  readonly datums: Fields[]
}

/** Throws INVALID_DATUM_FILE, or the error of a tensor that cannot be laid out. */
export async function readDatumFile(file: string): Promise<ShownData> {
  const text = await readFile(file, 'utf8').catch((cause: NodeJS.ErrnoException) => {
    throw serviceError('INVALID_DATUM_FILE', { file, problem: `cannot be read (${cause.code})` }, { cause })
  })
  return datumsOfText(text, file)
}

/** @param file how messages name it */
export function datumsOfText(text: string, file: string): ShownData {
  const refuse = (problem: string) => serviceError('INVALID_DATUM_FILE', { file, problem })
  if (text.trim() === '') throw refuse('is empty')
  const found: Found = { loss: null, datums: [] }
  for (const { value, where } of valuesOf(text, refuse)) collect(value, where, found, refuse)
  if (!found.datums.length) throw refuse('holds no datum')
  const budget: SparseBudget = { cells: 0 }
  const datums = found.datums.map((datum, i) => shown(datum, i, budget, refuse))
  return { source: file, loss: found.loss, baseModel: null, datums }
}

type Refuse = (problem: string) => Error

/** The whole text as one value, or each of its lines. */
function* valuesOf(text: string, refuse: Refuse): Iterable<{ value: unknown; where: string }> {
  const whole = parsed(text)
  if (!(whole instanceof Error)) return yield { value: whole, where: 'it' }
  const lines = text.split('\n')
  // A first line that is no JSON by itself: the file was meant as one value, and its error is the one that helps.
  if (parsed(lines[0] ?? '') instanceof Error) throw refuse(`is no JSON: ${whole.message}`)
  for (const [i, line] of lines.entries()) {
    if (line.trim() === '') continue
    const value = parsed(line)
    if (value instanceof Error) throw refuse(`has a line ${i + 1} that is no JSON: ${value.message}`)
    yield { value, where: `line ${i + 1}` }
  }
}

/** JSON, and what Python's json module writes where JSON has no word. */
function parsed(text: string): unknown {
  const WORDS = { NaN: 'null', Infinity: '1e999', '-Infinity': '-1e999' } as const
  try {
    return JSON.parse(
      text.replace(/"(?:[^"\\]|\\.)*"|-?Infinity\b|\bNaN\b/g, (part) => WORDS[part as keyof typeof WORDS] ?? part),
    )
  } catch (error) {
    return error as Error
  }
}

function collect(value: unknown, where: string, found: Found, refuse: Refuse): void {
  if (Array.isArray(value)) {
    for (const [i, each] of value.entries()) collect(each, `${where}[${i}]`, found, refuse)
    return
  }
  if (!isFields(value)) throw refuse(`has ${where === 'it' ? 'a value' : where} that is no object`)
  const request = value.forward_backward_input ?? value.forward_input ?? (Array.isArray(value.data) ? value : undefined)
  if (isFields(request) && Array.isArray(request.data)) {
    if (typeof request.loss_fn === 'string') found.loss = request.loss_fn
    collect(request.data, `${where}.data`, found, refuse)
  } else if (isFields(value.model_input) || Array.isArray(value.model_input)) found.datums.push(value)
  else {
    const names = Object.keys(value).slice(0, 8).join(', ') || 'nothing'
    throw refuse(`has in ${where} the fields ${names}, but a datum has model_input and loss_fn_inputs`)
  }
}

function shown(datum: Fields, index: number, budget: SparseBudget, refuse: Refuse): ShownDatum {
  const given = datum.model_input
  const chunks = Array.isArray(given) ? [{ tokens: given }] : (given as Fields).chunks
  if (!Array.isArray(chunks) || !chunks.every(isFields)) throw refuse(`has datum ${index} without model_input.chunks`)
  const bad = chunks.find(({ tokens }) => tokens !== undefined && !isNumbers(tokens))
  if (bad) throw refuse(`has datum ${index} with a chunk whose tokens are no list of numbers`)
  const inputs = datum.loss_fn_inputs ?? {}
  if (!isFields(inputs)) throw refuse(`has datum ${index} whose loss_fn_inputs are no object`)
  return {
    tokens: tokensOfJson({ chunks } as Parameters<typeof tokensOfJson>[0], `Datum ${index}`),
    inputs: Object.fromEntries(
      Object.entries(inputs).map(([name, value]) => {
        const tensor = tensorOf(value)
        if (!tensor) throw refuse(`has datum ${index} whose loss_fn_inputs.${name} is neither a tensor nor a list`)
        return [name, columnOf(tensor, { datum: index, name }, budget)]
      }),
    ),
  }
}

function columnOf(tensor: Tensor, name: { datum: number; name: string }, budget: SparseBudget): Column {
  const { values, shape } = dense(tensorOfJson(tensor), name, budget)
  const width = shape.slice(1).reduce((product, size) => product * size, 1)
  return { values: Float64Array.from(values, (value) => value ?? Number.NaN), width: Math.max(1, width) }
}

/** A tensor's fields, or a list (of lists) in its place. */
function tensorOf(value: unknown): Tensor | null {
  if (isFields(value) && isNumbers(value.data)) return { dtype: 'float32', ...value } as unknown as Tensor
  if (isNumbers(value)) return { data: value, dtype: 'float32' } as Tensor
  if (!Array.isArray(value) || !value.every(isNumbers)) return null
  const rows = value as number[][]
  const width = rows[0]?.length ?? 0
  if (rows.some((row) => row.length !== width)) return null
  return { data: rows.flat(), dtype: 'float32', shape: [rows.length, width] } as Tensor
}

function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** Null is a number that was not known. */
function isNumbers(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((each) => typeof each === 'number' || each === null)
}
