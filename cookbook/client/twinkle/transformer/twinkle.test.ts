// The scripts of this folder do what they promise, in both languages: the starter serves, the script trains, stops half-way,
// goes on, and ends with what it taught.

import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { ENVIRONMENT_MS, NO_PYTHON, pythonPrograms } from '../../../testing/python.ts'
import { type Program, Terminal, tsx } from '../../../testing/terminal.ts'

const HERE = 'cookbook/client/twinkle/transformer'
const MINUTES = 60_000
type Make = (file: string, ...args: string[]) => Program

describe.each([
  { language: 'TypeScript', ending: 'ts', programs: () => Promise.resolve<Make | null>(tsx) },
  { language: 'Python', ending: 'py', programs: () => pythonPrograms('twinkle-0.5.1') },
])('$language', ({ ending, programs }) => {
  const terminal = new Terminal()
  let make: Make | null

  beforeAll(async () => {
    make = await programs()
    await terminal.start((make ?? tsx)(`${HERE}/server.${make === null ? 'ts' : ending}`))
  }, ENVIRONMENT_MS)
  afterAll(async () => {
    expect(await terminal.stop()).toBe(0)
    await terminal.close()
  })

  it('lora gives a name to questions that it was not trained on', { timeout: 2 * MINUTES }, async ({ skip }) => {
    if (make === null) return skip(NO_PYTHON)
    const script = make(`${HERE}/lora.${ending}`)
    const first = await terminal.run({ ...script, env: { ...script.env, EPOCHS: '3' } })
    expect(first).toContain('before: 0 of 4')
    expect(lossesOf(first)).toHaveLength(3)
    const second = await terminal.run(script)
    expect(second).toContain('resume: epoch 3, step 9,')
    expect(second).toContain('Optimizer: AdamW')
    expect(lossesOf(second)).toHaveLength(7)
    expect(lossesOf(second).at(-1)).toBeLessThan(lossesOf(first)[0]! / 20)
    expect(second).toContain('Introduce yourself. -> I am Twinkle.')
    expect(second).toMatch(/after: +4 of 4/)
    expect(second).toMatch(/weights: twinkle:\/\/\S+\/sampler_weights\/self-cognition/)
  })
})

function lossesOf(printed: string): number[] {
  return [...printed.matchAll(/loss ([\d.]+)/g)].map(([, loss]) => Number(loss))
}
