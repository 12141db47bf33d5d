import { useFakeTimers } from 'sinon'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { Progress } from './progress.ts'

let clock: ReturnType<typeof useFakeTimers>
beforeEach(() => {
  clock = useFakeTimers({ now: 1_000_000, toFake: ['Date', 'performance'] })
})
afterEach(() => clock.restore())

it('tells step, loss by target token and the speed of late', () => {
  const progress = new Progress()
  for (let second = 0; second < 300; second++) {
    progress.trained('run', { loss: 50, tokens: 200, targets: 100 })
    clock.tick(1000)
  }
  progress.stepped('run', 7)
  const { step, loss, tokensPerSecond } = progress.ofRun('run')
  expect({ step, loss }).toEqual({ step: 7, loss: 0.5 })
  expect(tokensPerSecond).toBeGreaterThan(180)
  expect(tokensPerSecond).toBeLessThan(220)
  clock.tick(600_000)
  expect(progress.ofRun('run').tokensPerSecond).toBeLessThan(0.001)
})

it('knows nothing of a run that did nothing, and no loss where nothing was a target', () => {
  const progress = new Progress()
  expect(progress.ofRun('other')).toEqual({ step: null, loss: null, tokensPerSecond: 0 })
  progress.trained('run', { loss: 0, tokens: 10, targets: 0 })
  expect(progress.ofRun('run').loss).toBeNull()
})

it('lists the samplers that drew last first, and forgets those of long ago', () => {
  const progress = new Progress()
  for (let i = 0; i < 10_001; i++) progress.drew(`s${i}`, { sequences: 1, tokens: 1 })
  progress.drew('s5', { sequences: 2, tokens: 1 })
  const samplers = progress.samplers()
  expect(samplers.length).toBe(10_000)
  expect(samplers[0]).toMatchObject(['s5', { sequences: 3 }])
  expect(samplers.some(([id]) => id === 's0')).toBe(false)
})
