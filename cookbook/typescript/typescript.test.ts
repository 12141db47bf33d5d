// The numbered recipes do what their headers say, one after the other against one real server: what each prints is asserted.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { ROOT, serve, Terminal, tsx } from '../testing/terminal.ts'

const terminal = new Terminal()
beforeAll(() => terminal.start(serve()))
afterAll(() => terminal.close())

const LIMIT = { timeout: 120_000 }
const cook = (recipe: string) =>
  terminal.run({ ...tsx(`cookbook/typescript/${recipe}.ts`), env: { TINKER_API_KEY: 'tml-cook' } })

function numbersOf(printed: string, name: string): number[] {
  return [...printed.matchAll(new RegExp(`${name} +(-?[\\d.]+)`, 'g'))].map(([, number]) => Number(number))
}
const mean = (values: readonly number[]) => values.reduce((a, b) => a + b, 0) / values.length

it('01 supervised fine-tuning: a question that was not shown gets the taught answer', LIMIT, async () => {
  const printed = await cook('01-supervised')
  const losses = numbersOf(printed, 'loss')
  expect(losses.at(-1)).toBeLessThan(losses[0]! / 10)
  expect(printed).not.toMatch(/before: I am Twinkle\./)
  expect(printed).toMatch(/after: +I am Twinkle\./)
})

it('02 reinforcement learning: more answers are right', LIMIT, async () => {
  const printed = await cook('02-reinforcement')
  const rewards = numbersOf(printed, 'reward')
  expect(rewards).toHaveLength(16)
  const [before] = numbersOf(printed, 'right before:')
  const [after] = numbersOf(printed, 'right after:')
  expect(after).toBeGreaterThan(before! + 0.2)
})

it('03 DPO: begins at ln 2, and the chosen answers become the likelier ones', LIMIT, async () => {
  const printed = await cook('03-dpo')
  const losses = numbersOf(printed, 'loss')
  expect(losses[0]).toBeCloseTo(Math.log(2), 3)
  expect(losses.at(-1)).toBeLessThan(losses[0]! / 4)
  expect(printed).toContain('6 of 6 after')
})

it('04 distillation: the student comes to speak as the teacher does', LIMIT, async () => {
  const printed = await cook('04-distillation')
  const kl = numbersOf(printed, 'teacher_kl')
  expect(mean(kl.slice(-3))).toBeLessThan(mean(kl.slice(0, 3)) / 2)
  const right = numbersOf(printed, 'right')
  expect(mean(right.slice(-3))).toBeGreaterThan(mean(right.slice(0, 3)))
})

it('05 many tenants: each has what it taught, and nothing of the others', LIMIT, async () => {
  const printed = await cook('05-many-tenants')
  for (const tenant of ['anna', 'ben', 'carla', 'deniz', 'elif', 'femi']) {
    expect(printed).toContain(`${tenant}: I work for ${tenant}.`)
  }
  expect(printed).toContain("ben asks for anna's weights: there is no such checkpoint")
})

it('06 own backend: what is taught changes what a module of one’s own draws', LIMIT, async () => {
  const folder = mkdtempSync(join(tmpdir(), 'twinkle-bigram-'))
  const own = new Terminal()
  try {
    await own.run({
      command: process.execPath,
      args: ['cookbook/backends/bigram/make-model.mjs', join(folder, 'model')],
    })
    const backend = join(ROOT, 'cookbook/backends/bigram/backend.mjs')
    const model = 'models: { cookbook/bigram: { path: ./model, backend: bigram } }'
    writeFileSync(join(folder, 'twinkle.yaml'), `backends: [${JSON.stringify(backend)}]\n${model}\n`)
    await own.start(serve('--config', join(folder, 'twinkle.yaml')))
    const program = tsx('cookbook/typescript/06-own-backend.ts')
    const printed = await own.run({ ...program, env: { TINKER_API_KEY: 'tml-cook' } })
    const losses = numbersOf(printed, 'loss')
    expect(losses.at(-1)).toBeLessThan(losses[0]! / 4)
    expect(printed).toMatch(/after: +"abcdefghijk"/)
    expect(printed).not.toMatch(/before: "abcdefghijk"/)
  } finally {
    await own.close()
    rmSync(folder, { recursive: true })
  }
})
