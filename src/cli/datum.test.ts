// `twinkle datum show` as a user sees it.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import sinon from 'sinon'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { createProgram } from './program.ts'

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'twinkle-datum-'))
})
afterEach(() => {
  sinon.restore()
  rmSync(folder, { recursive: true })
})

async function show(lines: readonly object[], ...words: string[]): Promise<string> {
  const file = join(folder, 'data.jsonl')
  writeFileSync(file, lines.map((line) => JSON.stringify(line)).join('\n'))
  const write = sinon.stub(process.stdout, 'write').returns(true)
  try {
    await createProgram().parseAsync(['datum', 'show', file, ...words], { from: 'user' })
    return write.args.map(([text]) => String(text)).join('')
  } finally {
    write.restore()
  }
}

const good = { model_input: [35, 40, 1], loss_fn_inputs: { target_tokens: [40, 1, 2], weights: [0, 0, 1] } }
const unshifted = { model_input: [35, 40, 2], loss_fn_inputs: { target_tokens: [35, 40, 2], weights: [0, 1, 1] } }

it('shows tokens, text, targets and weights side by side, and what is wrong on top', async () => {
  const text = await show([good, unshifted], '--model', 'twinkle/tiny')
  expect(text).toMatch(/2 datums, 6 tokens\n!! targets-not-shifted in datum 1\n/)
  expect(text).toMatch(/# +TOKEN +TEXT +TARGET +TEXT +WEIGHTS/)
  expect(text).toMatch(/1 +40 +"F" +1 +<\|im_start\|> +0/)
  expect(text).toMatch(/!! targets-not-shifted: .*tokens\[1:\]/)
})

it('shows one datum, long ones in part, and shorter columns as far as they go', async () => {
  const long = Array.from({ length: 100 }, (_, i) => 20 + (i % 50))
  const inputs = { target_tokens: [...long.slice(1), 2], weights: [...Array(90).fill(0), 1] }
  const text = await show([good, { model_input: long, loss_fn_inputs: inputs }], '--datum', '1', '--rows', '9')
  expect(text).not.toContain('datum 0 of')
  expect(text).toMatch(/!! lengths-differ at #91: weights has 91 rows for 100 tokens/)
  expect(text).toMatch(/\n!! +91 +61 +62 +-\n/)
  expect(text.split('\n').length).toBeLessThan(25)
  expect(text).toContain('--model NAME')
})

it('is JSON for machines', async () => {
  const { datums, findings } = JSON.parse(await show([good, unshifted], '--json', '--model', 'twinkle/tiny'))
  expect(datums[0].inputs.weights).toEqual({ values: [0, 0, 1], width: 1 })
  expect(datums[0].text[2]).toBe('<|im_start|>')
  expect(findings).toMatchObject([{ check: 'targets-not-shifted', severity: 'wrong', datum: 1 }])
})

it('lets no text of a file steer the terminal', async () => {
  const text = await show([{ ...good, loss_fn_inputs: { ...good.loss_fn_inputs, '\u001b[2Jevil': [1, 2, 3] } }])
  expect(text).not.toContain('\u001b')
})

it('names what there is when it cannot', async () => {
  await expect(show([good], '--model', 'tiny')).rejects.toMatchObject({
    message: expect.stringContaining('twinkle/tiny'),
  })
  await expect(show([good], '--datum', '1')).rejects.toMatchObject({ next: expect.stringContaining('from 0 to 0') })
})
