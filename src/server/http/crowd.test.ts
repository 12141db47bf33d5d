import { describe, expect, it } from 'vitest'
import { lettingIn } from './crowd.ts'
import type { HttpContext } from './state.ts'

/** In which turn of the event loop each of so many requests, which come in one turn, begins. */
async function turnsOf(count: number, letIn: ReturnType<typeof lettingIn>) {
  let turn = 0
  let isOver = false
  const look = () => {
    turn++
    if (!isOver) setImmediate(look)
  }
  setImmediate(look)
  const began: { request: number; turn: number }[] = []
  const enter = (request: number) => letIn({} as HttpContext, async () => void began.push({ request, turn }))
  await Promise.all(Array.from({ length: count }, (_, i) => enter(i)))
  isOver = true
  return began
}

describe('a crowd of requests', () => {
  it('is let in one a turn of the event loop, in its order, once the turn has taken its time', async () => {
    const began = await turnsOf(6, lettingIn(0))
    expect(began.map(({ request }) => request)).toEqual([0, 1, 2, 3, 4, 5])
    expect(new Set(began.map(({ turn }) => turn)).size).toBe(6)
  })

  it('that is small enough for a turn waits for nothing', async () => {
    const letIn = lettingIn(60_000)
    for (const _ of [1, 2]) expect((await turnsOf(6, letIn)).every(({ turn }) => turn === 0)).toBe(true)
  })
})
