// Log-probabilities in both of OpenAI's shapes: a list of objects for chat, lists side by side for completions. What was drawn
// has the number of the distribution it was drawn from; the best tokens beside it have those of temperature 1.

import type { Tokenizer } from '../../formats/tokenizer.ts'
import { textOf } from '../../formats/vocabulary.ts'
import type { Schemas } from '../../generated/operations.ts'
import type { TokenEntry } from './answer-text.ts'

type Bytes = Pick<Tokenizer, 'tokenBytes'>

export function chatLogprobs(tokenizer: Bytes, entries: readonly TokenEntry[]): NonNullable<Schemas['ChatLogprobs']> {
  const one = ({ id, logprob }: { id: number; logprob: number }) => ({
    token: textOf(tokenizer, id),
    logprob: finite(logprob),
    bytes: [...tokenizer.tokenBytes(id)],
  })
  return { content: entries.map((entry) => ({ ...one(entry), top_logprobs: entry.best.map(one) })), refusal: null }
}

/** Of a prompt the first token has no number: `logprob` is NaN there. */
export function completionLogprobs(
  tokenizer: Bytes,
  entries: readonly TokenEntry[],
): NonNullable<Schemas['CompletionLogprobs']> {
  return {
    tokens: entries.map(({ id }) => textOf(tokenizer, id)),
    token_logprobs: entries.map(({ logprob }) => (Number.isNaN(logprob) ? null : finite(logprob))),
    top_logprobs: entries.map((entry) => (Number.isNaN(entry.logprob) ? null : bestByText(tokenizer, entry))),
    text_offset: entries.map(({ offset }) => offset),
  }
}

/** The token itself is among them, as OpenAI has it. Of tokens that are written alike the likeliest is shown. */
function bestByText(tokenizer: Bytes, { id, logprob, best }: TokenEntry): Record<string, number> {
  const shown = best.some((one) => one.id === id) ? best : [...best, { id, logprob }]
  const byText = new Map<string, number>()
  for (const one of shown) {
    const text = textOf(tokenizer, one.id)
    if (!byText.has(text)) byText.set(text, finite(one.logprob))
  }
  return Object.fromEntries(byText)
}

/** JSON has no infinity; OpenAI writes this for what is as good as impossible. */
const finite = (logprob: number): number => (Number.isFinite(logprob) ? logprob : -9999)
