// Losses of the catalogue through Twinkle's model routes and a real engine: each is set by name, reads what a call gives it,
// answers with what belongs to it, and falls. Formulas are src/catalogue's to prove.

import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { registerBackend } from '../../backends/registry.ts'
import { openEngine } from '../../backends/transformers/engine.ts'
import type { OperationId } from '../../generated/operations.ts'
import { type Json, TestServer } from '../testing/test-server.ts'

registerBackend({ name: 'inside', open: openEngine })
const server = new TestServer({ backend: 'inside' })
beforeAll(() => server.start())
afterAll(() => server.stop())

const row = (...tokens: number[]) => ({ input_ids: tokens, labels: [-100, ...tokens.slice(2), -100] })
const PAIRS = [row(5, 6, 7, 8), row(5, 6, 9, 10, 11), row(12, 13, 14), row(12, 13, 15, 16)]
/** One anchor with its positive and a negative, another with its positive. */
const EMBEDDED = [1, 0, 0, 1, 0].map((label, i) => ({ input_ids: [20 + i, 30, 40 + i], labels: [label] }))
const teacher = (value: (at: number) => number[]) => PAIRS.map(({ labels }) => labels.map((_, at) => value(at)))

async function adapterWith(loss: string, kwargs: object) {
  const { session_id } = await server.call('twinkleCreateSession', { body: {} })
  const headers = { 'x-twinkle-session-id': session_id }
  const call = (id: OperationId, body: object = {}, status?: number): Promise<Json> =>
    server.call(id, { params: { base: 'org/tiny' }, headers, body: { adapter_name: 'default', ...body } }, status)
  await call('modelAddAdapter', { config: { r: 4 } })
  await call('modelSetOptimizer', { optimizer_cls: 'AdamW', lr: 0.01 })
  await call('modelSetLoss', { loss_cls: loss, ...kwargs })
  return call
}

const policy = { advantages: [1, -0.5, 0.5, -1] }
const CASES: readonly [string, object, object][] = [
  ['CrossEntropyLoss', {}, {}],
  ['GRPOLoss', { entropy_coef: 0.01 }, policy],
  ['GSPOLoss', {}, policy],
  ['sapo', {}, policy],
  ['DPOLoss', { reference_free: true, sft_weight: 1 }, {}],
  ['SimPOLoss', {}, {}],
  ['ORPOLoss', {}, {}],
  [
    'GKDLoss',
    {},
    { teacher_topk_indices: teacher((at) => [at + 3, 50]), teacher_topk_logprobs: teacher(() => [-0.1, -3]) },
  ],
  ['InfonceLoss', { temperature: 0.5 }, { inputs: EMBEDDED, task: 'embedding' }],
]

describe.each(CASES)('%s %j', (loss, kwargs, given) => {
  it('falls', async () => {
    const call = await adapterWith(loss, kwargs)
    const inputs = { inputs: PAIRS, ...given }
    const old = given === policy ? { old_logps: (await call('modelForwardOnly', inputs)).result.logps } : {}
    const { result: first } = await call('modelForwardBackward', { ...inputs, ...old })
    await call('modelClipGradAndStep', { max_grad_norm: 1 })
    const { result: second } = await call('modelForwardOnly', { ...inputs, ...old })
    expect(second.loss).toBeLessThan(first.loss)
    expect(first.entropies?.length).toBe('entropy_coef' in kwargs ? 4 : undefined)
    expect(first.embeddings?.length).toBe(loss === 'InfonceLoss' ? 5 : undefined)
  })
})

describe('what does not go together', () => {
  it('is refused by name', async () => {
    const call = await adapterWith('InfonceLoss', {})
    expect((await call('modelForwardBackward', { inputs: PAIRS }, 400)).detail).toContain('does not go with task')
    const sent = (labels: unknown) => ({ inputs: [{ input_ids: [1, 2], labels }], task: 'embedding' })
    expect((await call('modelForwardBackward', sent([2]), 400)).detail).toContain('labels other than [1]')
    expect((await call('modelForwardBackward', sent([0]), 400)).detail).toContain('first row must be an anchor')
    expect((await call('modelForwardOnly', sent([1]), 400)).detail).toContain('needs an anchor, a positive')
    expect((await call('modelForwardOnly', { ...sent([1]), disable_lora: true }, 400)).detail).toContain('task')
    expect((await call('modelSetLoss', { loss_cls: 'MSELoss' }, 400)).detail).toContain('There are: CrossEntropyLoss')
    await call('modelSetLoss', { loss_cls: 'GKDLoss' })
    const short = { teacher_topk_indices: [[[1, 2]]], teacher_topk_logprobs: [[[-1, -2]]] }
    expect((await call('modelForwardBackward', { inputs: PAIRS.slice(0, 1), ...short }, 400)).detail).toContain(
      'each of its 4 positions in teacher_topk_indices',
    )
    await call('modelSetLoss', { loss_cls: 'CrossEntropyLoss' })
    expect((await call('modelForwardBackward', sent([1]), 400)).detail).toContain('causal_lm')
  })

  it('scores labels without a loss where a pass without gradient lacks what the loss reads', async () => {
    const call = await adapterWith('DPOLoss', {})
    const { result } = await call('modelForwardOnly', { inputs: PAIRS })
    expect(result.loss).toBeNull()
    const { result: trained } = await call('modelForwardBackward', { inputs: PAIRS, ref_outputs: result })
    expect(trained.loss).toBeCloseTo(Math.log(2), 5)
    expect((await call('modelForwardBackward', { inputs: PAIRS }, 400)).detail).toContain('ref_logps is missing')
  })
})
