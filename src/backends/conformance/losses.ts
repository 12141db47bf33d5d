// Checks of the losses of Twinkle's catalogue, by what an engine says it can do: means, references, pairs, entropies and
// embeddings. A loss of a kind that the engine does not name must be refused.

import assert from 'node:assert/strict'
import { resolveCatalogueLoss } from '../../catalogue/losses/catalogue.ts'
import type { Engine, LossSpec, TrainingDatum } from '../backend.ts'
import { needsOf, supports } from '../losses.ts'
import { collect } from './requests.ts'
import { type Check, close, failureOf, LONG, resultOf, SHORT, Tenant } from './tenant.ts'

/** The same datum with its first position left out. */
function masked(datum: TrainingDatum, more: Partial<TrainingDatum> = {}): TrainingDatum {
  return { ...datum, mask: Float32Array.from(datum.tokens, (_, i) => (i > 0 ? 1 : 0)), ...more }
}
const filled = ({ tokens }: TrainingDatum, value: number) => new Float32Array(tokens.length).fill(value)
const counted = (rows: readonly ArrayLike<number>[]) => rows.flatMap((row) => Array.from(row).slice(1))
const sum = (values: readonly number[]) => values.reduce((a, b) => a + b, 0)

/** A row to embed: `label` 1 begins a group. */
const embedded = (datum: TrainingDatum, label: number): TrainingDatum => {
  const atEnd = (value: number) => datum.tokens.map((_, i) => (i === datum.tokens.length - 1 ? value : 0))
  return { ...datum, targets: atEnd(label), mask: Float32Array.from(atEnd(1)) }
}

const CROSS_ENTROPY = resolveCatalogueLoss('CrossEntropyLoss')
const GRPO = resolveCatalogueLoss('GRPOLoss', { beta: 0.5 })
const SAPO = resolveCatalogueLoss('SAPOLoss')
const SIMPO = resolveCatalogueLoss('SimPOLoss')
const ENTROPY = resolveCatalogueLoss('GRPOLoss', { entropy_coef: 0.5 })
const INFONCE = resolveCatalogueLoss('InfonceLoss')

/** A check of engines that can do `loss`; the others have to refuse it, on the same datums. */
function check(
  name: string,
  loss: LossSpec,
  datums: readonly TrainingDatum[],
  run: (tenant: Tenant, engine: Engine) => Promise<void>,
): Check {
  return {
    name: `${name}, or ${loss.name} is refused`,
    async run({ engine }) {
      const tenant = await Tenant.create(engine)
      if (supports(engine.info, loss)) return run(tenant, engine)
      const [outcome] = await collect(engine.train([tenant.item(datums, { loss })]))
      assert.equal(failureOf(outcome).code, 'UNSUPPORTED_LOSS', `it has no ${needsOf(loss).join(', ')}`)
      assert.equal((await tenant.optimise()).applied, false)
    },
  }
}

const BOTH = [masked(SHORT), masked(LONG)]
const REWARDED = BOTH.map((datum) => ({ ...datum, advantages: filled(datum, 0) }))
const ROWS = [embedded(SHORT, 1), embedded(LONG, 0)]

export const LOSS_CHECKS: readonly Check[] = [
  check('a mean is taken over all that counts in the operation', CROSS_ENTROPY, BOTH, async (tenant, engine) => {
    const { loss, logprobs } = await tenant.backward(BOTH, { loss: CROSS_ENTROPY })
    const all = counted(logprobs)
    close(loss, -sum(all) / all.length, 'loss')
    const norm = await tenant.gradientNorm()
    const weighed = await Tenant.create(engine)
    const weights = (datum: TrainingDatum) => Float32Array.from(datum.mask ?? [], (m) => m / all.length)
    await weighed.backward([
      { ...SHORT, weights: weights(BOTH[0]!) },
      { ...LONG, weights: weights(BOTH[1]!) },
    ])
    close(await weighed.gradientNorm(), norm, 'gradient norm')
  }),
  check('a reference pulls, with a penalty of its own', GRPO, REWARDED, async (tenant) => {
    const { logprobs } = await tenant.forward(BOTH, { loss: CROSS_ENTROPY })
    const apart = REWARDED.map((datum, i) => ({ ...datum, ref_logps: logprobs[i]!.map((p) => p + 0.5) }))
    const { loss } = await tenant.backward(apart, { loss: GRPO })
    close(loss, 0.5 * (Math.exp(0.5) - 1.5), 'loss')
    assert.ok((await tenant.gradientNorm()) > 0, 'there is a gradient')
    const near = REWARDED.map((datum, i) => ({ ...datum, ref_logps: logprobs[i]! }))
    close((await tenant.backward(near, { loss: GRPO })).loss, 0, 'loss beside the reference')
  }),
  check('two passes come to one gradient', SAPO, REWARDED, async (tenant, engine) => {
    const rewarded = REWARDED.map((datum) => ({ ...datum, advantages: filled(datum, 1) }))
    close((await tenant.backward(rewarded, { loss: SAPO })).loss, -2, 'loss where every ratio is 1')
    // With ratios of 1 its slope is that of the advantage, in the means of GRPO.
    const plain = await Tenant.create(engine)
    await plain.backward(rewarded, { loss: resolveCatalogueLoss('GRPOLoss') })
    close(await tenant.gradientNorm(), await plain.gradientNorm(), 'gradient norm')
  }),
  check('pairs are compared, and come in twos', SIMPO, BOTH, async (tenant, engine) => {
    const { loss, logprobs } = await tenant.backward(BOTH, { loss: SIMPO })
    const [chosen, rejected] = logprobs.map((row) => sum(counted([row])) / (row.length - 1)) as [number, number]
    close(loss, Math.log1p(Math.exp(0.5 - 2.5 * (chosen - rejected))), 'loss')
    assert.ok((await tenant.gradientNorm()) > 0, 'there is a gradient')
    const [odd] = await collect(engine.train([tenant.item(BOTH.slice(1), { loss: SIMPO })]))
    assert.equal(failureOf(odd).code, 'INVALID_INPUT')
  }),
  check('entropies lower the loss, and a step raises them', ENTROPY, REWARDED, async (tenant) => {
    const before = await tenant.backward(REWARDED, { loss: ENTROPY })
    const mean = ({ entropies = [] }: typeof before) =>
      sum(entropies.map((row) => sum(counted([row])) / (row.length - 1))) / REWARDED.length
    close(before.loss, -0.5 * mean(before), 'loss')
    await tenant.optimise()
    assert.ok(mean(await tenant.forward(REWARDED, { loss: ENTROPY })) > mean(before), 'the step raised the entropy')
  }),
  check('embeddings have length 1, and stand for log-probabilities', INFONCE, ROWS, async (tenant, engine) => {
    const other = [embedded(LONG, 1), embedded(SHORT, 0)]
    const outcome = await collect(engine.train([tenant.item([...ROWS, ...other], { loss: INFONCE })]))
    const { embeddings = [], logprobs } = resultOf(outcome[0])
    assert.deepEqual(
      logprobs.map((row) => row.length),
      [0, 0, 0, 0],
    )
    for (const row of embeddings) close(sum(Array.from(row, (x) => x * x)), 1, 'length of an embedding')
    assert.ok((await tenant.gradientNorm()) > 0, 'there is a gradient')
  }),
]
