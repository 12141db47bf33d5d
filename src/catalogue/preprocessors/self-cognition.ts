// Rows of swift/self-cognition: {query, response}, with {{NAME}} and {{AUTHOR}} in the place of who the model is to be.

import { type Row, textOf } from '../rows.ts'
import { type MakePreprocess, message } from './preprocessor.ts'

export const SelfCognitionProcessor: MakePreprocess = (args) => {
  const name = args.textOrNull('model_name', null) || 'twinkle robot'
  const author = args.textOrNull('model_author', null) || 'twinkle lab'
  const filled = (row: Row, column: string) =>
    textOf(row, column)
      .replaceAll('{{NAME}}', () => name)
      .replaceAll('{{AUTHOR}}', () => author)
  return (row) => ({
    messages: [
      message('system', 'You are a helpful assistant.'),
      message('user', filled(row, 'query')),
      message('assistant', filled(row, 'response')),
    ],
  })
}
