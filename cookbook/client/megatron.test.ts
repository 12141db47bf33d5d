// The megatron folders say that their backend is not there, in the server's own words, and end with code 1.

import { afterAll, describe, expect, it } from 'vitest'
import { plainPython } from '../testing/python.ts'
import { type Program, Terminal, tsx } from '../testing/terminal.ts'

const terminal = new Terminal()
afterAll(() => terminal.close())

describe.each([
  ['tinker', /There is no backend megatron\. Next: Use transformers/],
  ['twinkle', /use_megatron in .* cannot be true\. Next: Give false: there is no such backend/],
])('%s/megatron', (protocol, sentence) => {
  const file = (name: string) => `cookbook/client/${protocol}/megatron/${name}`
  const nowhere = { TWINKLE_SERVER_URL: 'http://127.0.0.1:9' }
  const refused = (program: Program) => expect(terminal.run({ ...program, env: nowhere })).rejects.toThrow(sentence)

  it('server.ts and lora.ts', async () => {
    await refused(tsx(file('server.ts')))
    await refused(tsx(file('lora.ts')))
  })

  it('server.py and lora.py', async ({ skip }) => {
    const python = await plainPython()
    if (python === null) return skip('no Python here')
    await refused({ command: python, args: [file('server.py')] })
    await refused({ command: python, args: [file('lora.py')] })
  })
})
