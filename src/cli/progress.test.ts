import { expect, it } from 'vitest'
import { ProgressLine } from './progress.ts'

function target(isTTY: boolean) {
  const written: string[] = []
  return { written, isTTY, columns: 60, write: (text: string) => written.push(text) }
}

it('is redrawn in place on a terminal, within its width, and left standing at the end', () => {
  let now = 0
  const terminal = target(true)
  const line = new ProgressLine(terminal, () => now)
  line.update('a', 0.5)
  line.update('too soon', 0.6)
  now = 200
  line.update('b'.repeat(100), 1)
  line.end()
  expect(terminal.written).toHaveLength(3)
  expect(terminal.written[0]).toBe(`\r\u001b[K${'█'.repeat(12)}${'░'.repeat(12)} a`)
  expect(terminal.written[1]).toBe(`\r\u001b[K${'█'.repeat(24)} ${'b'.repeat(34)}`)
  expect(terminal.written[2]).toBe('\n')
})

it('is a plain line now and then elsewhere, and always the last one', () => {
  let now = 0
  const file = target(false)
  const line = new ProgressLine(file, () => now)
  for (; now < 12_000; now += 1000) line.update(`at ${now}`, 0.5)
  line.update('done', 1)
  line.end()
  expect(file.written).toEqual(['at 0\n', 'at 5000\n', 'at 10000\n', 'done\n'])
})
