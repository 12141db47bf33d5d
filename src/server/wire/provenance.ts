// Provenance: spans that say from which sampled sequence, and from where in it, a datum's tokens come. No loss that is served
// reads them, so they are checked and not kept: a count that is off is an error of the client's, and it hears of it here as
// it would where they matter. Whether the named sequences are what is claimed is not looked up.

import { serviceError } from '../errors.ts'

interface Run {
  readonly sequence_id?: string | null
  readonly offset?: number | null
  readonly length?: number | null
}

/** The same in protobuf and JSON. */
export interface Span {
  readonly prompt_tokens?: Run | null
  readonly sampled_tokens?: Run | null
}

export interface Provenance {
  readonly model_input_spans?: readonly Span[] | null
  readonly loss_fn_input_spans?: readonly Span[] | null
}

/** Throws INVALID_SPANS. @param targets rows of target_tokens */
export function checkProvenance(
  datum: number,
  spans: Provenance,
  { tokens, targets }: { tokens: number; targets: number },
) {
  const input = spans.model_input_spans ?? []
  const loss = spans.loss_fn_input_spans ?? []
  if (!input.length && !loss.length) return
  checkTiling(datum, 'model_input_spans', input, tokens)
  checkTiling(datum, 'loss_fn_input_spans', loss, targets)
}

function checkTiling(datum: number, field: string, spans: readonly Span[], positions: number): void {
  const refuse = (problem: string) => serviceError('INVALID_SPANS', { datum, field, problem, positions })
  let covered = 0
  for (const [i, { prompt_tokens: prompt, sampled_tokens: sampled }] of spans.entries()) {
    const run = prompt ?? sampled
    if (!run || (prompt && sampled))
      throw refuse(`has a span ${i} that is neither prompt_tokens nor sampled_tokens alone`)
    const { sequence_id, offset, length } = run
    if (!sequence_id) throw refuse(`has a span ${i} without a sequence_id`)
    if (!isCount(offset ?? 0) || !isCount(length ?? 0))
      throw refuse(`has a span ${i} from ${offset} over ${length} tokens`)
    covered += length ?? 0
  }
  if (covered !== positions) throw refuse(`covers ${covered} of ${positions} positions`)
}

const isCount = (value: number) => Number.isSafeInteger(value) && value >= 0
