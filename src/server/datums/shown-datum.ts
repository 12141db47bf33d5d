// A datum as it is looked at: its tokens and whatever stands beside them, right or wrong. The training path refuses what it
// cannot compute; here lengths may differ and numbers may be anything, so that a person can see it.

import type { TrainingDatum } from '../../backends/backend.ts'
import type { TrainingReply } from '../calls.ts'

/** Row-major [rows, width]. A position that has no number is NaN. */
export interface Column {
  readonly values: ArrayLike<number>
  readonly width: number
}

export interface ShownDatum {
  readonly tokens: ArrayLike<number>
  /** loss_fn_inputs by name. */
  readonly inputs: Readonly<Record<string, Column>>
  /** What the model said to the targets when the operation ran. */
  readonly computed?: Column
}

export interface ShownData {
  /** As messages name it. */
  readonly source: string
  /** Null: not known. */
  readonly loss: string | null
  readonly baseModel: string | null
  readonly datums: readonly ShownDatum[]
}

export const rowsOf = ({ values, width }: Column): number => Math.ceil(values.length / width)

/** A datum of an acknowledged call, with its part of the answer where there is one. */
export function shownDatum(datum: TrainingDatum, answer: TrainingReply['logprobs'][number] | undefined): ShownDatum {
  const { tokens, targets, width, ...floats } = datum
  const inputs: Record<string, Column> = { target_tokens: { values: targets, width } }
  // Only weights go with each of several targets.
  for (const [name, values] of Object.entries(floats)) inputs[name] = { values, width: name === 'weights' ? width : 1 }
  return { tokens, inputs, ...(answer && { computed: { values: answer.values, width: answer.width } }) }
}
