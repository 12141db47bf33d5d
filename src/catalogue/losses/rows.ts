// From the rows of Twinkle's protocol to what an engine computes: labels become targets and a mask, and what losses read
// besides (one number, or one a completion token, or one a position) is laid out by position. Everything comes from outside
// and is looked at here: types, sizes, finite numbers. Vocabularies and contexts are the engine's to check.

import { CatalogueError } from '../catalogue-error.ts'
import { type CatalogueLossSpec, catalogueLoss } from './catalogue.ts'
import type { LossDatum } from './loss.ts'

/**
 * `labels` are shifted already: the one at a position is the token to predict there, or the loss's ignore_index. For losses of
 * embeddings there is one label, 1 for an anchor and 0 for what follows it, and the embedding is that of the last position.
 */
export interface LossRow {
  readonly input_ids: unknown
  readonly labels: unknown
}

/** As a request body has them, by row. */
export interface RowInputs {
  readonly advantages?: unknown
  readonly old_logps?: unknown
  readonly ref_logps?: unknown
  /** The answer of a pass over the same rows through the reference model: its `logps` are the ref_logps. */
  readonly ref_outputs?: unknown
  readonly teacher_topk_logprobs?: unknown
  readonly teacher_topk_indices?: unknown
}

/** What an engine takes for one sequence. */
export interface RowDatum extends LossDatum {
  readonly tokens: Int32Array
  readonly targets: Int32Array
  readonly mask: Float32Array
}

/** One datum a row. Inputs that the loss does not read are not looked at. Throws CatalogueError INVALID_ARGUMENT. */
export function rowDatums(
  { name, config }: CatalogueLossSpec,
  rows: readonly LossRow[],
  inputs: RowInputs,
): RowDatum[] {
  const loss = catalogueLoss(name)
  const read = [...loss.required, ...loss.optional]
  const byRow = (key: string, values: unknown) => listOf(name, key, values, rows.length)
  const has = (input: string, value: unknown) => (read as string[]).includes(input) && value != null
  const reference = inputs.ref_logps ?? (inputs.ref_outputs as { logps?: unknown } | null | undefined)?.logps
  const logprobs = has('logprobs', inputs.old_logps) ? byRow('old_logps', inputs.old_logps) : undefined
  const references = has('ref_logps', reference) ? byRow('ref_logps', reference) : undefined
  const advantages = has('advantages', inputs.advantages) ? byRow('advantages', inputs.advantages) : undefined
  const teacher = loss.soft ? teacherOf(name, inputs, rows.length) : undefined
  return rows.map((row, i) => {
    const plain =
      loss.kind === 'embedding' ? embeddingDatum(name, i, row) : plainDatum(name, i, row, config.ignore_index as number)
    const laidOut = (key: string, values: readonly unknown[] | undefined) =>
      values && byPosition(name, `${key}[${i}]`, values[i], plain.mask)
    const old = laidOut('old_logps', logprobs)
    const ref = laidOut('ref_logps', references)
    const advantage = laidOut('advantages', advantages)
    return {
      ...plain,
      ...(teacher && softTargets(name, i, plain, teacher)),
      ...(old && { logprobs: old }),
      ...(ref && { ref_logps: ref }),
      ...(advantage && { advantages: advantage }),
    }
  })
}

function plainDatum(loss: string, row: number, { input_ids, labels }: LossRow, ignored: number) {
  if (!isTokens(input_ids)) throw invalid(loss, `input_ids[${row}]`, 'a list of token ids')
  if (!isTokens(labels) || labels.length !== input_ids.length) {
    throw invalid(loss, `labels[${row}]`, `a list of ${input_ids.length} token ids or ${ignored}, one a position`)
  }
  return {
    tokens: Int32Array.from(input_ids),
    targets: Int32Array.from(labels, (label) => (label === ignored ? 0 : label)),
    mask: Float32Array.from(labels, (label) => (label === ignored ? 0 : 1)),
    width: 1,
  }
}

function embeddingDatum(loss: string, row: number, { input_ids, labels }: LossRow) {
  if (!isTokens(input_ids) || input_ids.length === 0) throw invalid(loss, `input_ids[${row}]`, 'a list of token ids')
  const label = Array.isArray(labels) && labels.length === 1 ? labels[0] : labels
  if (label !== 0 && label !== 1) throw invalid(loss, `labels[${row}]`, '[1] for an anchor or [0] for what follows it')
  const atEnd = (value: number) => Array.from(input_ids, (_, at) => (at === input_ids.length - 1 ? value : 0))
  return {
    tokens: Int32Array.from(input_ids),
    targets: Int32Array.from(atEnd(label)),
    mask: Float32Array.from(atEnd(1)),
    width: 1,
  }
}

/**
 * One number stands for every position that counts. As many as positions count are theirs in order. As many as there are
 * positions, or more (rows padded on the right), are by position.
 */
function byPosition(loss: string, key: string, given: unknown, mask: Float32Array): Float32Array {
  const values = typeof given === 'number' ? [given] : given
  if (!isNumbers(values)) throw invalid(loss, key, 'a finite number or a list of them')
  const count = mask.reduce((sum, m) => sum + m, 0)
  const { length } = values
  if (length !== 1 && length !== count && length < mask.length) {
    const wanted = `1 number, ${count} (one for each label that counts) or at least ${mask.length} (one a position)`
    throw invalid(loss, key, `${wanted}, but has ${length}`)
  }
  let next = 0
  return mask.map((m, at) => {
    if (m === 0) return 0
    if (length === 1) return values[0] as number
    return values[length === count ? next++ : at] as number
  })
}

interface Teacher {
  readonly logprobs: readonly unknown[]
  readonly indices: readonly unknown[]
}

function teacherOf(loss: string, inputs: RowInputs, rows: number): Teacher {
  return {
    logprobs: listOf(loss, 'teacher_topk_logprobs', inputs.teacher_topk_logprobs, rows),
    indices: listOf(loss, 'teacher_topk_indices', inputs.teacher_topk_indices, rows),
  }
}

/** The teacher's tokens are the targets: [N, K], of at least as many positions as the row has. */
function softTargets(loss: string, row: number, { mask }: { mask: Float32Array }, teacher: Teacher) {
  const [logprobs, indices] = (['logprobs', 'indices'] as const).map((part) => {
    const key = `teacher_topk_${part}[${row}]`
    const found = teacher[part][row]
    if (
      !Array.isArray(found) ||
      found.length < mask.length ||
      !found.every(part === 'indices' ? isTokens : isNumbers)
    ) {
      throw invalid(loss, key, `a list of at least ${mask.length} lists of finite numbers, one a position`)
    }
    return found.slice(0, mask.length) as number[][]
  }) as [number[][], number[][]]
  const width = indices[0]?.length ?? 0
  if ([...logprobs, ...indices].some((list) => list.length !== width)) {
    throw invalid(
      loss,
      `teacher_topk_indices[${row}]`,
      `equally many tokens at every position, as the log-probabilities`,
    )
  }
  return { width, targets: Int32Array.from(indices.flat()), teacher_topk_logprobs: Float32Array.from(logprobs.flat()) }
}

function listOf(loss: string, key: string, values: unknown, rows: number): readonly unknown[] {
  if (Array.isArray(values) && values.length === rows) return values
  throw invalid(loss, key, `a list with one entry for each of the ${rows} rows`)
}

const isInt32 = (value: unknown) => value === Math.trunc(value as number) && Math.abs(value as number) < 2 ** 31
const isTokens = (values: unknown): values is number[] => Array.isArray(values) && values.every(isInt32)
const isNumbers = (values: unknown): values is number[] => Array.isArray(values) && values.every(Number.isFinite)

const invalid = (loss: string, key: string, wanted: string) =>
  new CatalogueError('INVALID_ARGUMENT', `The loss ${loss} cannot take ${key}.`, `It must be ${wanted}.`)
