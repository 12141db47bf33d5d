// Which operations run next, together. Each adapter's operations are in order already (adapter-queue.ts); adapters take
// turns, whoever was served longest ago first. Training passes of many adapters go together up to a token budget, as do
// optimiser steps; anything else goes alone. Plain data, so that a test can drive it with thousands of adapters.

import type { AdapterQueue } from './adapter-queue.ts'

export type BatchClass = 'train' | 'optim' | 'single'
export interface Schedulable {
  readonly batchClass: BatchClass
  /** What it takes of the engine, in tokens. */
  readonly cost: number
}

/** Adapters in the order of their turns: the first key was served longest ago. */
export type Turns<T extends Schedulable> = Map<string, AdapterQueue<T>>

/** Says of an adapter's next operation whether it may run now. */
export type Admits<T> = (adapter: string, operation: T) => boolean

/** Takes the next batch out of the queues and moves the adapters that it served to the end. Empty when nothing may run. */
export function nextBatch<T extends Schedulable>(
  turns: Turns<T>,
  tokenBudget: number,
  admits: Admits<T> = () => true,
): T[] {
  const batch: T[] = []
  let kind: BatchClass | undefined
  let tokens = 0
  const served: string[] = []
  for (const [adapter, queue] of turns) {
    const head = queue.ready[0]
    if (!head || (kind && head.batchClass !== kind) || !admits(adapter, head)) continue
    kind ??= head.batchClass
    const room = takeCount(queue.ready, kind, tokenBudget - tokens, batch.length === 0)
    if (room === 0) continue
    const taken = queue.take(room)
    for (const operation of taken) tokens += operation.cost
    batch.push(...taken)
    served.push(adapter)
    if (kind === 'single' || (kind === 'train' && tokens >= tokenBudget)) break
  }
  for (const adapter of served) {
    const queue = turns.get(adapter) as AdapterQueue<T>
    turns.delete(adapter)
    turns.set(adapter, queue)
  }
  return batch
}

/** How many of an adapter's ready operations fit. The first operation of a batch always does. */
function takeCount(ready: readonly Schedulable[], kind: BatchClass, budget: number, first: boolean): number {
  if (kind !== 'train') return 1
  let count = 0
  let left = budget
  for (const operation of ready) {
    if (operation.batchClass !== 'train') break
    if (operation.cost > left && !(first && count === 0)) break
    left -= operation.cost
    count++
  }
  return count
}
