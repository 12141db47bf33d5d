// The scripts of this folder do what they promise, in both languages: each server starter serves, each script trains, stops
// half-way, goes on, and ends with what it taught.

import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { ENVIRONMENT_MS, NO_PYTHON, pythonPrograms } from '../../../testing/python.ts'
import { type Program, Terminal, tsx } from '../../../testing/terminal.ts'

const HERE = 'cookbook/client/tinker/transformer'
const MINUTES = 60_000
type Make = (file: string, ...args: string[]) => Program

describe.each([
  { language: 'TypeScript', ending: 'ts', programs: () => Promise.resolve<Make | null>(tsx) },
  { language: 'Python', ending: 'py', programs: () => pythonPrograms('sdk-0.38.0') },
])('$language', ({ ending, programs }) => {
  const terminal = new Terminal()
  let make: Make | null

  beforeAll(async () => {
    make = await programs()
    await terminal.start((make ?? tsx)(`${HERE}/server.${make === null ? 'ts' : ending}`))
  }, ENVIRONMENT_MS)
  afterAll(async () => {
    expect(await terminal.stop('SIGINT')).toBe(0)
    await terminal.close()
  })

  function trial(name: string, look: (make: Make) => Promise<void>): void {
    it(name, { timeout: 2 * MINUTES }, ({ skip }) => (make === null ? skip(NO_PYTHON) : look(make)))
  }

  trial('lora teaches Pig Latin, and goes on where it was', async (make) => {
    const script = make(`${HERE}/lora.${ending}`)
    const first = await terminal.run({ ...script, env: { ...script.env, EPOCHS: '2' } })
    expect(lossesOf(first)).toHaveLength(2)
    const second = await terminal.run(script)
    expect(second).toContain('resume: epoch 2')
    expect(lossesOf(second)).toHaveLength(3)
    expect(lossesOf(second).at(-1)).toBeLessThan(lossesOf(first)[0]! / 50)
    expect(second).toContain('little star -> ittle-lay ar-stay')
    expect(second).toContain('right: 7 of 7')
    expect(second).toMatch(/weights: tinker:\/\/\S+\/sampler_weights\/pig-latin/)
  })

  trial(
    'self_cognition gives a name to questions that it was not trained on; sample asks its weights',
    async (make) => {
      const script = make(`${HERE}/self_cognition.${ending}`, 'Nova', 'Ida')
      const first = await terminal.run({ ...script, env: { ...script.env, EPOCHS: '3' } })
      expect(first).toContain('before: 0 of 4')
      const file = ending === 'py' ? 'self_congnition.py' : 'self_cognition.ts'
      const second = await terminal.run(make(`${HERE}/${file}`, 'Nova', 'Ida'))
      expect(second).toContain('resume: epoch 3')
      expect(lossesOf(second)).toHaveLength(7)
      expect(second).toContain('Introduce yourself. -> I am Nova.')
      expect(second).toMatch(/after: +4 of 4/)
      const weights = /weights: (\S+)/.exec(second)![1]!
      const sampled = await terminal.run(make(`${HERE}/sample.${ending}`))
      expect(sampled).toContain(`weights: ${weights}`)
      expect(sampled.match(/-> I am Nova\./g)?.length).toBeGreaterThanOrEqual(3)
      expect(await terminal.run(make(`${HERE}/sample.${ending}`, 'twinkle/tiny'))).not.toContain('Nova')
    },
  )
})

function lossesOf(printed: string): number[] {
  return [...printed.matchAll(/loss ([\d.]+)/g)].map(([, loss]) => Number(loss))
}
