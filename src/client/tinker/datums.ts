// Training examples from what one has at hand. A model predicts at each position the token after it, so inputs are all tokens
// but the last and targets all but the first; these helpers do that shift, which is where home-made examples go wrong.

import { TinkerError } from './errors.ts'
import { ModelInput } from './model-input.ts'
import type { Datum, ProvenanceSpan } from './types.ts'

type Tokens = ArrayLike<number>

/** Learns to continue `prompt` with `completion`; tokens of the prompt weigh 0, those of the completion 1. */
export function supervisedDatum({
  prompt,
  completion,
}: {
  readonly prompt: Tokens
  readonly completion: Tokens
}): Datum {
  const ones = Array.from(completion, () => 1)
  return shifted(prompt, completion, { weights: ones })
}

/**
 * Learns from a sampled completion, for losses such as `importance_sampling` and `ppo`. `logprobs` are those of the sampler,
 * `advantages` one number for all tokens or one each.
 */
export function policyDatum(options: {
  readonly prompt: Tokens
  readonly completion: Tokens
  readonly logprobs: Tokens
  readonly advantages: Tokens | number
}): Datum {
  const { prompt, completion, logprobs, advantages } = options
  const each = typeof advantages === 'number' ? Array.from(completion, () => advantages) : advantages
  return shifted(prompt, completion, { logprobs, advantages: each })
}

/** A copy that says where its tokens came from. Throws TinkerError when the runs do not cover exactly what they describe. */
export function withProvenance(
  datum: Datum,
  spans: { readonly modelInput: readonly ProvenanceSpan[]; readonly lossFnInputs: readonly ProvenanceSpan[] },
): Datum {
  for (const { sequenceId, offset, length } of [...spans.modelInput, ...spans.lossFnInputs]) {
    if (sequenceId === '') throw new TinkerError('A provenance span has no sequenceId.')
    if (!(length >= 0) || (offset ?? 0) < 0)
      throw new TinkerError('Offset and length of a provenance span are 0 or more.')
  }
  checkTiling('modelInput', spans.modelInput, datum.modelInput.length)
  const targets = datum.lossFnInputs.target_tokens
  const rows =
    targets && ('dtype' in targets ? (targets.shape?.length === 2 ? undefined : targets.data.length) : targets.length)
  if (rows !== undefined) checkTiling('lossFnInputs', spans.lossFnInputs, rows)
  return { ...datum, modelInputSpans: spans.modelInput, lossFnInputSpans: spans.lossFnInputs }
}

function checkTiling(field: string, spans: readonly ProvenanceSpan[], expected: number): void {
  const total = spans.reduce((sum, { length }) => sum + length, 0)
  if (total === expected) return
  throw new TinkerError(
    `The spans of ${field} cover ${total} positions, but it has ${expected}; they must tile it exactly.`,
  )
}

/** `values` hold one number a token of the completion; positions that predict the prompt get 0. */
function shifted(prompt: Tokens, completion: Tokens, values: Readonly<Record<string, Tokens>>): Datum {
  if (prompt.length === 0)
    throw new TinkerError('The prompt is empty: the first token of a completion needs one before it.')
  if (completion.length === 0) throw new TinkerError('The completion is empty: there is nothing to learn.')
  const tokens = [...Array.from(prompt), ...Array.from(completion)]
  const padding = new Array<number>(prompt.length - 1).fill(0)
  const inputs = Object.entries(values).map(([name, numbers]) => {
    if (numbers.length === completion.length) return [name, [...padding, ...Array.from(numbers)]] as const
    throw new TinkerError(`There are ${numbers.length} ${name} for a completion of ${completion.length} tokens.`)
  })
  return {
    modelInput: ModelInput.fromInts(tokens.slice(0, -1)),
    lossFnInputs: { target_tokens: tokens.slice(1), ...Object.fromEntries(inputs) },
  }
}
