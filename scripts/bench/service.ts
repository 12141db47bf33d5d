// What the service adds to the work of the engine: overhead of an operation, and how the event loop bears a crowd.

import { setTimeout as sleep } from 'node:timers/promises'
import type { ServerProcess } from '../demo/server-process.ts'
import { Figures, quantile } from './measure.ts'
import { metrics, withServer } from './server.ts'
import { Wire } from './wire.ts'

const ROUNDS = 3
/** A server's first operations are slower: its code is not compiled yet. They count, as one round of these. */
const OVERHEAD_ROUNDS = 9
const OPERATIONS = 500
const SAMPLES = 1000
const SAMPLE_TOKENS = 16
const FUTURES = 200
/** Two polls of 30 s and a bit. */
const WAIT_MS = 65_000

export async function benchService(print: (text: string) => void): Promise<void> {
  await withServer([], async (server) => {
    const figures = new Figures()
    const wire = new Wire(server.url)
    const session = await wire.session()
    for (let round = 0; round < OVERHEAD_ROUNDS; round++) await overhead(figures, wire, session, round)
    for (let round = 0; round < ROUNDS; round++) await crowd(figures, server, wire, session, round)
    await patience(figures, server, wire, session)
    wire.close()
    print(figures.table())
  })
}

/** An optimiser step without a gradient has nothing to compute: what it takes is the service. */
async function overhead(figures: Figures, wire: Wire, session: string, round: number): Promise<void> {
  const model_id = await wire.model(session, round)
  const step = (seq_id: number) => wire.result('optim_step', { model_id, seq_id, adam_params: { learning_rate: 1e-4 } })
  for (let seq = 1; seq <= 50; seq++) await step(seq)
  const times: number[] = []
  for (let seq = 51; seq <= 50 + OPERATIONS; seq++) {
    const start = performance.now()
    await step(seq)
    times.push(performance.now() - start)
  }
  figures.add('operation without compute, submit to result, p50', 'ms', quantile(times, 0.5))
  figures.add('operation without compute, submit to result, p95', 'ms', quantile(times, 0.95))
}

async function crowd(
  figures: Figures,
  server: ServerProcess,
  wire: Wire,
  session_id: string,
  round: number,
): Promise<void> {
  const { json } = await wire.post('create_sampling_session', {
    session_id,
    sampling_session_seq_id: round,
    base_model: 'twinkle/tiny',
  })
  const { sampling_session_id } = json
  const prompt = { chunks: [{ tokens: Array.from({ length: 32 }, (_, i) => 100 + ((i * 37) % 150)) }] }
  const sampling_params = { max_tokens: SAMPLE_TOKENS, stop: [] }
  await eventLoop(server)
  const start = performance.now()
  await Promise.all(
    Array.from({ length: SAMPLES }, (_, seq_id) =>
      wire.result('asample', { sampling_session_id, seq_id, prompt, num_samples: 1, sampling_params }),
    ),
  )
  const seconds = (performance.now() - start) / 1000
  const { p99, max } = await eventLoop(server)
  figures.add(`${SAMPLES} concurrent samples of ${SAMPLE_TOKENS} tokens`, 'requests/s', SAMPLES / seconds)
  figures.add('event loop delay of the API meanwhile, p99', 'ms', p99)
  figures.add('event loop delay of the API meanwhile, longest', 'ms', max)
}

/** Futures that wait for a number that has not come: held polls, then all at once. */
async function patience(figures: Figures, server: ServerProcess, wire: Wire, session: string): Promise<void> {
  const model_id = await wire.model(session, OVERHEAD_ROUNDS)
  const step = (seq_id: number) => wire.post('optim_step', { model_id, seq_id, adam_params: { learning_rate: 1e-4 } })
  const ids: string[] = []
  for (let seq = 2; seq <= FUTURES + 1; seq++) ids.push((await step(seq)).json.request_id)
  await eventLoop(server)
  const start = performance.now()
  const waiting = ids.map((id) => wire.retrieve(id))
  await sleep(WAIT_MS)
  const { p99 } = await eventLoop(server)
  await step(1)
  const results = await Promise.all(waiting)
  const seconds = (performance.now() - start) / 1000
  const askedAgain = results.reduce((sum, result) => sum + result.asked - 1, 0)
  figures.add(`event loop delay of the API with ${FUTURES} waiting futures, p99`, 'ms', p99)
  figures.add('times that a waiting future is asked for again in 25 s', '', (25 * askedAgain) / FUTURES / seconds)
}

/** Since it was last asked: the server's own histogram begins anew with each look. */
async function eventLoop(server: ServerProcess): Promise<{ p99: number; max: number }> {
  const [p99 = Number.NaN, max = Number.NaN] = await metrics(server, [
    'nodejs_eventloop_lag_p99_seconds',
    'nodejs_eventloop_lag_max_seconds',
  ])
  return { p99: p99 * 1000, max: max * 1000 }
}
