import { describe, expect, it } from 'vitest'
import { type Holding, ProcessorMemory } from './processor-memory.ts'

function room(tenantBytes: number, bytes: number) {
  const gone: Holding[] = []
  const memory: ProcessorMemory = new ProcessorMemory({ tenantBytes, bytes }, (holding) => {
    gone.push(holding)
    memory.release(holding)
  })
  const holding = (tenant: string, held = 0): Holding => {
    const made = { tenant, isBusy: false, held: 0 }
    memory.touch(made)
    memory.hold(made, held)
    return made
  }
  return { memory, gone, holding }
}

describe('the memory of objects', () => {
  it('of one tenant is bounded, and what does not fit is not counted', () => {
    const { memory, holding } = room(100, 1000)
    const first = holding('anna', 60)
    const second = holding('anna', 40)
    expect(() => memory.hold(second, 1)).toThrow(expect.objectContaining({ code: 'PROCESSOR_MEMORY' }))
    holding('bert', 100)
    memory.release(first)
    memory.hold(second, 60)
    expect([memory.used, second.held]).toEqual([200, 100])
  })

  it('of all is taken from those that were used longest ago, and never from those that are being worked on', () => {
    const { memory, gone, holding } = room(100, 100)
    const [busy, old, young] = [holding('anna', 30), holding('bert', 30), holding('carl', 30)]
    busy.isBusy = true
    memory.touch(old)
    memory.touch(young)
    memory.hold(young, 30)
    expect(gone).toEqual([old])
    expect(memory.used).toBe(90)
    expect(() => holding('dora', 90)).toThrow(expect.objectContaining({ code: 'PROCESSORS_BUSY', status: 429 }))
    expect(memory.used).toBe(30)
  })

  it('is given back once', () => {
    const { memory, holding } = room(100, 100)
    const one = holding('anna', 50)
    memory.hold(one, -20)
    memory.release(one)
    memory.release(one)
    expect([memory.used, one.held]).toEqual([0, 0])
    holding('anna', 100)
  })
})
