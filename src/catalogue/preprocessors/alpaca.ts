// Rows of Alpaca: {instruction, input, output}; an input, where there is one, follows the instruction on a line of its own.

import { textOrEmpty } from '../rows.ts'
import { type MakePreprocess, message } from './preprocessor.ts'

export const AlpacaProcessor: MakePreprocess = () => (row) => {
  const instruction = textOrEmpty(row, 'instruction')
  const input = textOrEmpty(row, 'input')
  return {
    messages: [
      message('user', input ? `${instruction}\n${input}` : instruction),
      message('assistant', textOrEmpty(row, 'output')),
    ],
  }
}
