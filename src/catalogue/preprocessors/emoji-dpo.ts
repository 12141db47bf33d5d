// Rows of preferences: a prompt with an answer that was chosen and one that was rejected (DPO-zh-en-emoji calls them answer_zh
// and answer_en; other names can be given). Each becomes a conversation of its own, `positive` and `negative`.

import { textOrEmpty } from '../rows.ts'
import { type MakePreprocess, message, system } from './preprocessor.ts'

export const EmojiDPOProcessor: MakePreprocess = (args) => {
  const prompt = args.textOrNull('system', null)
  const chosen = args.text('chosen_key', 'answer_zh')
  const rejected = args.text('rejected_key', 'answer_en')
  const asked = args.text('prompt_key', 'prompt')
  return (row) => {
    const messages = [...system(prompt), message('user', textOrEmpty(row, asked))]
    const answered = (column: string) => ({ messages: [...messages, message('assistant', textOrEmpty(row, column))] })
    return { positive: answered(chosen), negative: answered(rejected) }
  }
}
