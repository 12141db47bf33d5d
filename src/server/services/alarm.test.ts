import sinon from 'sinon'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { Alarm } from './alarm.ts'

const DAY = 86_400_000
let clock: sinon.SinonFakeTimers

beforeEach(() => {
  clock = sinon.useFakeTimers({ now: 1_000_000, toFake: ['setTimeout', 'clearTimeout', 'Date'] })
})
afterEach(() => clock.restore())

function newAlarm(...answers: (number | null)[]) {
  const rung: number[] = []
  const alarm = new Alarm(async () => {
    rung.push(Date.now())
    return answers.shift() ?? null
  })
  return { alarm, rung }
}

describe('Alarm', () => {
  it('rings at the earliest time that was asked for, with one timer', async () => {
    const { alarm, rung } = newAlarm()
    alarm.at(1_005_000)
    alarm.at(1_002_000)
    alarm.at(1_009_000)
    expect(clock.countTimers()).toBe(1)
    await clock.tickAsync(10_000)
    expect(rung).toEqual([1_002_000])
  })

  it('goes on with the time that the listener gives', async () => {
    const { alarm, rung } = newAlarm(1_007_000, null)
    alarm.at(1_001_000)
    await clock.tickAsync(20_000)
    expect(rung).toEqual([1_001_000, 1_007_000])
  })

  it('waits longer than a timer can, and does not ring early', async () => {
    const { alarm, rung } = newAlarm()
    alarm.at(1_000_000 + 60 * DAY)
    await clock.tickAsync(59 * DAY)
    expect(rung).toEqual([])
    await clock.tickAsync(DAY)
    expect(rung).toEqual([1_000_000 + 60 * DAY])
  })

  it('is silent when it is closed', async () => {
    const { alarm, rung } = newAlarm()
    alarm.at(1_001_000)
    alarm.close()
    alarm.at(1_002_000)
    await clock.tickAsync(10_000)
    expect(rung).toEqual([])
  })
})
