// Many operations on one server that keeps little: does its memory stay flat, and its journal bounded?

import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { ServerProcess } from '../demo/server-process.ts'
import { memory, metrics, withServer } from './server.ts'
import { Wire } from './wire.ts'

const RUNS = 8
/** In flight at a time, of each run. */
const DEPTH = 16
const LOOKS = 10
/** Every so many operations a pass with a gradient, so that there are restart points. */
const PASS_EVERY = 25

export async function benchSoak(operations: number, print: (text: string) => void): Promise<void> {
  process.env.TWINKLE_KEEP = 'calls=5s,answers=5s,unfetched_answers=10s,rows=10s,tidy_every=5s'
  await withServer([], async (server, stateDir) => {
    const wire = new Wire(server.url)
    const session = await wire.session()
    const models = await Promise.all(Array.from({ length: RUNS }, (_, i) => wire.model(session, i)))
    const next = models.map(() => 1)
    const rows: string[] = [await look(server, stateDir, 0)]
    const start = performance.now()
    for (let done = 0; done < operations; ) {
      const until = Math.min(operations, done + Math.ceil(operations / LOOKS))
      await Promise.all(models.map((model, i) => work(wire, model, next, i, Math.ceil((until - done) / RUNS))))
      done = until
      rows.push(await look(server, stateDir, done))
    }
    const seconds = (performance.now() - start) / 1000
    wire.close()
    print(
      [
        `${operations} operations in ${seconds.toFixed(0)} s; kept for 5 to 10 s: ${process.env.TWINKLE_KEEP}`,
        '',
        '| operations | API, MB | engine, MB | JavaScript heap, MB | state directory, MB |',
        '| --- | --- | --- | --- | --- |',
        ...rows,
      ].join('\n'),
    )
  })
}

async function work(wire: Wire, model_id: string, next: number[], run: number, count: number): Promise<void> {
  for (let left = count; left > 0; left -= DEPTH) {
    await Promise.all(
      Array.from({ length: Math.min(DEPTH, left) }, () => {
        const seq_id = next[run] as number
        next[run] = seq_id + 1
        return operation(wire, model_id, seq_id)
      }),
    )
  }
}

function operation(wire: Wire, model_id: string, seq_id: number) {
  if (seq_id % PASS_EVERY) return wire.result('optim_step', { model_id, seq_id, adam_params: { learning_rate: 1e-5 } })
  const tokens = Array.from({ length: 16 }, (_, i) => 100 + ((i * 37 + seq_id) % 150))
  const target_tokens = { data: tokens, dtype: 'int64' }
  const data = [{ model_input: { chunks: [{ tokens }] }, loss_fn_inputs: { target_tokens } }]
  return wire.result('forward_backward', {
    model_id,
    seq_id,
    forward_backward_input: { data, loss_fn: 'cross_entropy' },
  })
}

async function look(server: ServerProcess, stateDir: string, done: number): Promise<string> {
  const { api = Number.NaN, engines = Number.NaN } = memory(server) ?? {}
  const [heapBytes = Number.NaN] = await metrics(server, ['nodejs_heap_size_used_bytes'])
  const heap = heapBytes / 2 ** 20
  const disk = (await bytesOf(stateDir)) / 2 ** 20
  return `| ${done} | ${[api, engines, heap, disk].map((mb) => mb.toFixed(0)).join(' | ')} |`
}

async function bytesOf(path: string): Promise<number> {
  const found = await stat(path).catch(() => null)
  if (!found?.isDirectory()) return found?.size ?? 0
  const sizes = await Promise.all((await readdir(path)).map((name) => bytesOf(join(path, name))))
  return sizes.reduce((sum, size) => sum + size, 0)
}
