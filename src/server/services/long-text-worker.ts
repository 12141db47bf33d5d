// The process that turns long texts into tokens: tokenizers by model, one text at a time. Knows no tenant; long-texts.ts says
// whose turn it is. It ends with the process that started it.

import { loadTokenizer, type Tokenizer } from '../../formats/tokenizer.ts'

export interface TextJob {
  readonly id: number
  readonly model: string
  /** With the first text of a model: what its tokenizer is made of. */
  readonly files?: Record<string, Uint8Array>
  readonly text: string
  readonly addSpecialTokens: boolean
}

export type TextAnswer =
  | { readonly id: number; readonly tokens: Int32Array }
  | { readonly id: number; readonly problem: string }

const tokenizers = new Map<string, Tokenizer>()

function tokensOf({ model, files, text, addSpecialTokens }: TextJob): Int32Array {
  if (files) tokenizers.set(model, loadTokenizer(files, model))
  const tokenizer = tokenizers.get(model)
  if (!tokenizer) throw new Error(`the files of ${model} never came`)
  return Int32Array.from(tokenizer.encode(text, { addSpecialTokens }))
}

process.on('message', (job: TextJob) => {
  const answer = (value: TextAnswer) => process.send?.(value)
  try {
    answer({ id: job.id, tokens: tokensOf(job) })
  } catch (cause) {
    answer({ id: job.id, problem: (cause as Error).message })
  }
})
process.on('disconnect', () => process.exit())
