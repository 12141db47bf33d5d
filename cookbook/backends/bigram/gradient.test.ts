// The gradient of the bigram backend is the derivative of its loss, for losses of every kind that it has.

import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, it } from 'vitest'
import type { LossSpec, TrainingDatum } from '../../../src/backends/backend.ts'
import { datum, trainingItem } from '../../../src/backends/conformance/requests.ts'
import { resolveLoss } from '../../../src/backends/losses.ts'
import { resolveCatalogueLoss } from '../../../src/catalogue/losses/catalogue.ts'

const module = (name: string) => import(new URL(name, import.meta.url).href)
const folder = mkdtempSync(join(tmpdir(), 'twinkle-bigram-'))
execFileSync(process.execPath, [join(import.meta.dirname, 'make-model.mjs'), folder])
afterAll(() => rmSync(folder, { recursive: true }))
const { BigramModel } = await module('./model.mjs')
const { Adapter, freshWeights } = await module('./adapter.mjs')
const { trainingSteps } = await module('./training.mjs')
const { openEngine } = await module('./engine.mjs')
const { info } = openEngine({ name: 'bigram', path: folder })
const model = new BigramModel(folder)

const PLAIN = datum(70, 71, 72, 70, 73)
const [POLICY, OTHER] = [PLAIN, datum(71, 70, 70, 72, 75)].map((plain, i) => ({
  ...plain,
  mask: Float32Array.of(0, 1, 1, 1),
  logprobs: Float32Array.of(-3, -3.5, -4, -3),
  ref_logps: Float32Array.of(-3, -4, -3, -3.5),
  advantages: Float32Array.of(1, -0.5, 2, i + 0.5),
})) as [TrainingDatum, TrainingDatum]
const SOFT = {
  ...PLAIN,
  targets: Int32Array.of(71, 90, 72, 91, 70, 92, 73, 93),
  width: 2,
  weights: Float32Array.of(1, 0.5, 0.25, 0, 2, 1, 1, 1),
}

const CASES: readonly [string, LossSpec, readonly TrainingDatum[]][] = [
  ['several targets a position', resolveLoss('cross_entropy'), [SOFT, PLAIN]],
  ['a token loss', resolveLoss('dro', { beta: 0.3 }), [POLICY, OTHER]],
  [
    'a mean with a reference and an entropy',
    resolveCatalogueLoss('GRPOLoss', { beta: 0.4, entropy_coef: 0.5 }),
    [POLICY, OTHER],
  ],
  ['a loss of pairs', resolveCatalogueLoss('DPOLoss', { beta: 0.2 }), [POLICY, OTHER]],
]

it.each(CASES)('is the slope of %s', (_, loss, datums) => {
  const rank = 3
  const fresh = freshWeights(info.vocabulary, rank, 8, '5')
  // float64, and a B that is not 0: both halves have a gradient.
  const params = Float64Array.from(fresh.params as Float32Array, (value, i) =>
    i < rank * info.vocabulary ? value : Math.sin(i) / 4,
  )
  const run = (weights: Float64Array, backward: boolean) => {
    const adapter = new Adapter(fresh.with(weights))
    const steps = trainingSteps(model, info, adapter, trainingItem('o', 'a', { loss, datums, backward }))
    let step = steps.next()
    while (!step.done) step = steps.next()
    return { loss: step.value.loss as number, gradient: adapter.gradient as Float32Array }
  }
  const { gradient } = run(params, true)
  const start = rank * info.vocabulary
  // What A has for token 70, and what B has for tokens that are targets and one that is not.
  const cells = [
    70,
    info.vocabulary + 71,
    start + 71 * rank,
    start + 72 * rank + 1,
    start + 90 * rank + 2,
    start + 200 * rank,
  ]
  for (const cell of cells) {
    const around = [1e-4, -1e-4].map((step) => run(params.with(cell, (params[cell] as number) + step), false).loss)
    expect(gradient[cell], `element ${cell}`).toBeCloseTo((around[0]! - around[1]!) / 2e-4, 4)
  }
})
