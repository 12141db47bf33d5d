// The prompts of a completion: one or several, as texts or as token ids. Knows the four forms; what fits a model's context
// is sample-call.ts's.

import type { Schemas } from '../../generated/operations.ts'
import { serviceError } from '../errors.ts'
import type { OpenModel } from './model.ts'
import { checkLength } from './sample-call.ts'

type Prompt = Schemas['CompletionRequest']['prompt']

/** Each with at least one token. Throws EMPTY_INPUT and INVALID_TOKENS. */
export async function tokensOf(model: OpenModel, prompt: Prompt): Promise<Int32Array[]> {
  const prompts = listOf(prompt)
  const tokens: Int32Array[] = []
  for (const [i, one] of prompts.entries()) {
    const where = prompts.length === 1 ? 'The prompt' : `Prompt ${i}`
    if (one.length === 0) throw serviceError('EMPTY_INPUT', { where })
    tokens.push(typeof one === 'string' ? await encoded(one, model) : idsOf(one, where, model))
  }
  return tokens
}

async function encoded(text: string, model: OpenModel): Promise<Int32Array> {
  checkLength(model, text)
  return model.encode(text, true)
}

function listOf(prompt: Prompt): readonly (string | readonly number[])[] {
  if (typeof prompt === 'string') return [prompt]
  const isOne = typeof prompt[0] === 'number'
  return (isOne ? [prompt] : prompt) as readonly (string | readonly number[])[]
}

function idsOf(ids: readonly number[], where: string, { info: { vocabulary } }: OpenModel): Int32Array {
  const at = ids.findIndex((id) => id < 0 || id >= vocabulary)
  if (at < 0) return Int32Array.from(ids)
  const problem = `token ${ids[at]} at position ${at} is outside the vocabulary, 0 to ${vocabulary - 1}`
  throw serviceError('INVALID_TOKENS', { where, problem })
}
