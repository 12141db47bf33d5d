import type { ChildProcess } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { column, commandsOf, Kitchen, kill } from './kitchen.ts'

const [COMMAND = ''] = commandsOf('Supervised loop')
const STEPS = 24
let kitchen: Kitchen

beforeAll(async () => {
  kitchen = await Kitchen.open()
})
afterAll(() => kitchen?.close())

describe('the supervised loop', () => {
  it('makes the loss fall', async () => {
    await kitchen.run(COMMAND)
    const losses = column(kitchen.metrics('runs/sl'), 'train_mean_nll')
    expect(losses).toHaveLength(STEPS)
    expect(losses[0]).toBeGreaterThan(5)
    expect(losses.at(-1)).toBeLessThan(0.2)
    expect(kitchen.checkpoints('runs/sl').at(-1)).toMatchObject({ name: 'final', batch: STEPS })
  })

  it('goes on from its checkpoint after kill -9, step by step as if nothing had been', async () => {
    const again = COMMAND.replace('runs/sl', 'runs/killed')
    await killedAfter(8, again)
    const before = kitchen.metrics('runs/killed')
    const checkpoint = kitchen.checkpoints('runs/killed').at(-1)
    expect(before.length).toBeLessThan(STEPS)
    expect(checkpoint?.batch).toBeGreaterThan(0)
    await kitchen.run(again)
    const resumed = kitchen.metrics('runs/killed').slice(before.length)
    expect(column(resumed, 'step')).toEqual(range(checkpoint!.batch, STEPS))

    // The steps that it had taken since that checkpoint, and all those of a run that nobody killed after it.
    const repeated = before.filter(({ step }) => step! >= checkpoint!.batch)
    expect(losses(resumed).slice(0, repeated.length)).toEqual(losses(repeated))
    const undisturbed = COMMAND.replace('runs/sl', 'runs/undisturbed')
    mkdirSync(kitchen.path('runs/undisturbed'), { recursive: true })
    writeFileSync(kitchen.path('runs/undisturbed/checkpoints.jsonl'), `${JSON.stringify(checkpoint)}\n`)
    await kitchen.run(undisturbed)
    expect(losses(kitchen.metrics('runs/undisturbed'))).toEqual(losses(resumed))
    expect(losses(resumed).at(-1)).toBeLessThan(0.2)
  })
})

/** Kills it once the loop has reported so many steps. */
async function killedAfter(steps: number, command: string): Promise<void> {
  const child = await new Promise<ChildProcess>((resolve, reject) => {
    let seen = 0
    const started = kitchen.start(command, (text) => {
      seen += text.split('Wrote metrics').length - 1
      if (seen >= steps) resolve(started)
    })
    started.once('close', (code) => reject(new Error(`it ended with exit code ${code} before step ${steps}`)))
  })
  await kill(child)
}

const losses = (rows: Parameters<typeof column>[0]) => column(rows, 'train_mean_nll')
const range = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => from + i)
