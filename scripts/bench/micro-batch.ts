// How long one micro-batch takes: the longest time that a large operation holds a short one back. The embedded engine in
// its own process, without a server before it.

import { tmpdir } from 'node:os'
import { fileURLToPath } from 'node:url'
import type { TrainingItem } from '../../src/backends/index.ts'
import { transformersBackend } from '../../src/backends/transformers/backend.ts'
import { type Figures, timed } from './measure.ts'

const RUNS = 20
/** Together the 1024 tokens that a micro-batch of the trainer has at most. */
const ROWS = 16
const ROW_TOKENS = 64
const LORA = { rank: 8, alpha: 32, seed: '1', trainAttention: true, trainMlp: true, trainUnembed: true }
const tokens = (row: number) => Int32Array.from({ length: ROW_TOKENS }, (_, i) => 100 + ((row * 1009 + i * 37) % 150))

const item = (run: number): TrainingItem => ({
  operation: `run ${run}`,
  adapter: 'bench',
  backward: true,
  loss: { name: 'cross_entropy', config: {} },
  datums: Array.from({ length: ROWS }, (_, row) => ({ tokens: tokens(row), targets: tokens(row + 1), width: 1 })),
})

/** @param folder of the model, from the root of the repository. */
export async function addMicroBatch(figures: Figures, name: string, folder: string): Promise<void> {
  const path = fileURLToPath(new URL(`../../${folder}`, import.meta.url))
  const options = { cacheDir: tmpdir(), threads: 0, log: () => {} }
  const engine = await transformersBackend.open({ name, path }, options)
  await engine.createAdapter('bench', LORA)
  for (let run = -1; run < RUNS; run++) {
    const ms = await timed(async () => {
      for await (const outcome of engine.train([item(run)]))
        if ('error' in outcome) throw new Error(outcome.error.message)
    })
    if (run >= 0) figures.add(`micro-batch of ${ROWS * ROW_TOKENS} tokens, forward and backward`, 'ms', ms)
  }
  await engine.close()
}
