// Lets a crowd in bit by bit. Of a thousand requests that have arrived when the event loop looks, each would run until it
// first waits for something, one after the other in the same turn of the loop, and everybody else would wait for the last. Once
// a turn has taken its time, those that follow come in one a turn, in the order of their arrival.

import type { HttpMiddleware } from './state.ts'

const SLICE_MS = 10

export function lettingIn(sliceMs = SLICE_MS): HttpMiddleware {
  const waiting: (() => void)[] = []
  /** When the first request of this turn of the loop came; null: none has come yet. */
  let began: number | null = null
  const turn = () => {
    began = null
    const next = waiting.shift()
    if (!next) return
    begin()
    next()
  }
  const begin = () => {
    began = performance.now()
    setImmediate(turn)
  }
  return async function letIn(_, next) {
    if (began === null) begin()
    else if (waiting.length || performance.now() - began >= sliceMs) {
      await new Promise<void>((resolve) => waiting.push(resolve))
    }
    await next()
  }
}
