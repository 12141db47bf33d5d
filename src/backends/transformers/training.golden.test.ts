// Holds the training graph, the losses in it and AdamW against the reference numbers in goldens/ (see its README).

import { readdirSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { OptimizerSpec, OptimStep } from '../backend.ts'
import { resolveLoss } from '../losses.ts'
import { Adapter } from './adapter.ts'
import { packBatch } from './batch.ts'
import { Executor } from './executor.ts'
import { partLogprobs } from './head-rows.ts'
import { clipGradient, moved, optimizerStep } from './optimizer.ts'
import type { Moving } from './optimizer-state.ts'
import {
  absoluteDeviation,
  flatten,
  goldenAdapter,
  goldenDatum,
  goldenModel,
  goldenPath,
  goldenTensors,
  isStoredInFloat64,
  peftMatrices,
  readGolden,
  relativeDeviation,
} from './testing/goldens.ts'
import { freshAdapter, goldenTrainer, item, results } from './testing/harness.ts'
import type { Trainer } from './trainer.ts'
import { addGradient } from './training-stacks.ts'
import { inlineWeights } from './weights.ts'

const MODELS = ['llama-tied', 'llama-untied-rope3', 'qwen2-tied', 'qwen3-tied', 'llama-bf16-sharded', 'mistral-window']

interface RuleCase {
  readonly spec: OptimizerSpec
  readonly lrs: readonly number[]
  readonly steps: readonly { a: number[][]; b: number[] }[]
}

interface LossCase {
  readonly loss_fn: string
  readonly loss_fn_config: Record<string, number>
  readonly loss_sum: number
  readonly loss_abs_terms: number
  readonly logprobs: (number | number[])[][] | string
}

const adapterCases = (model: string) =>
  readdirSync(goldenPath(model))
    .map((file) => /^lora-(.*)\.json$/.exec(file)?.[1])
    .filter((name) => name !== undefined)

/** Largest deviation of any matrix of the adapter, relative to that matrix's largest element. */
function matrixDeviation(
  found: ArrayLike<number>,
  adapter: ReturnType<typeof goldenAdapter>,
  read: (name: string) => Float64Array,
) {
  const wanted = flatten(new Float64Array(adapter.layout.size), adapter.layout, read)
  const part = (values: ArrayLike<number>, from: number, size: number) =>
    Array.from({ length: size }, (_, i) => values[from + i] as number)
  return Math.max(
    ...peftMatrices(adapter.layout).map(({ offset, rows, columns }) =>
      relativeDeviation(part(found, offset, rows * columns), part(wanted, offset, rows * columns)),
    ),
  )
}

describe.each(MODELS)('%s', (model) => {
  let trainer: Trainer
  beforeAll(async () => {
    trainer = await goldenTrainer(model)
  })
  afterAll(() => trainer.close())

  it.each(adapterCases(model))('adapter %s: losses, log-probabilities and gradients', async (name) => {
    const golden = readGolden(`${model}/lora-${name}.json`)
    const gradients = goldenTensors(`${model}/lora-${name}.grads.safetensors`)
    for (const [lossCase, wanted] of Object.entries(golden.losses as Record<string, LossCase>)) {
      const adapter = goldenAdapter(model, name)
      const datums = golden.datums.map((d: never) => goldenDatum(d, lossCase))
      const loss = resolveLoss(wanted.loss_fn, wanted.loss_fn_config)
      const [result] = await results(trainer, [{ adapter, item: item(datums, { loss }) }])
      const lossError = Math.abs((result?.loss ?? Number.NaN) - wanted.loss_sum) / wanted.loss_abs_terms
      expect(lossError, lossCase).toBeLessThan(1e-5)
      if (typeof wanted.logprobs !== 'string') {
        wanted.logprobs.forEach((row, i) => {
          expect(absoluteDeviation(result?.logprobs[i] ?? [], row.flat()), lossCase).toBeLessThan(1e-4)
        })
      }
      const deviation = matrixDeviation(adapter.gradient ?? [], adapter, (n) => gradients(`${lossCase}/${n}`))
      expect(deviation, lossCase).toBeLessThan(1e-4)
    }
  })

  it('scores prompts like the base model while B is zero', async () => {
    const { sequences } = readGolden(`${model}/forward.json`) as {
      sequences: { tokens: number[]; prompt_logprobs: (number | null)[] }[]
    }
    const scored = sequences.filter((s) => s.tokens.length > 1)
    const datums = scored.map(({ tokens }) => ({
      tokens: Int32Array.from(tokens.slice(0, -1)),
      targets: Int32Array.from(tokens.slice(1)),
      width: 1,
    }))
    const adapter = freshAdapter(model)
    const [result] = await results(trainer, [{ adapter, item: item(datums, { backward: false }) }])
    scored.forEach(({ prompt_logprobs: wanted }, i) => {
      expect(absoluteDeviation(result?.logprobs[i] ?? [], wanted.slice(1) as number[])).toBeLessThan(1e-4)
    })
    expect(adapter.gradient).toBeNull()
  })
})

const CASES = MODELS.flatMap((model) => adapterCases(model).map((name) => [model, name] as const))

describe('in float64', () => {
  it.each(CASES)('%s, adapter %s', async (model, name) => {
    const files = goldenModel(model)
    const executor = new Executor(files.config, inlineWeights(files, 'float64'), { threads: 1, sessions: 1 })
    const golden = readGolden(`${model}/lora-${name}.json`)
    const gradients = goldenTensors(`${model}/lora-${name}.grads.safetensors`)
    const isExact = isStoredInFloat64(`${model}/lora-${name}.grads.safetensors`)
    const adapter = goldenAdapter(model, name)
    for (const [lossCase, wanted] of Object.entries(golden.losses as Record<string, LossCase>)) {
      const datums = golden.datums.map((d: never) => goldenDatum(d, lossCase))
      const work = { datums, weights: adapter, loss: resolveLoss(wanted.loss_fn, wanted.loss_fn_config) }
      const batch = packBatch([{ work, first: 0, count: datums.length }], true)
      const outputs = await executor.run(batch)
      const sum = new Float64Array(adapter.layout.size)
      addGradient(sum, outputs, batch.shape.columns, { weights: adapter, column: 0 })
      const deviation = matrixDeviation(sum, adapter, (n) => gradients(`${lossCase}/${n}`))
      expect(deviation, lossCase).toBeLessThan(isExact ? 1e-9 : 1e-6)
      if (typeof wanted.logprobs === 'string') continue
      const found = partLogprobs(batch.parts[0] as never, batch.shape, outputs)
      wanted.logprobs.forEach((row, i) => {
        expect(absoluteDeviation(found[i] ?? [], row.flat())).toBeLessThan(1e-9)
      })
    }
    await executor.close()
  })
})

describe.each(Object.entries<RuleCase>(readGolden('optimizer-rules.json').cases))('%s', (_, { spec, lrs, steps }) => {
  const { initial, grads } = readGolden('optimizer.json')
  const flat = (tensors: { a: number[][]; b: number[] }) => Float64Array.from([...tensors.a.flat(), ...tensors.b])

  it('moves weights as PyTorch does', () => {
    let state: Moving<Float64Array> = { params: flat(initial), slots: {}, step: 0 }
    for (const [i, wanted] of steps.entries()) {
      state = moved(state, flat(grads[i]), { ...spec, learningRate: lrs[i] as number })
      expect(absoluteDeviation(state.params, flat(wanted))).toBeLessThan(1e-12)
    }
    expect(state.step).toBe(steps.length)
  })
})

describe('AdamW', () => {
  const golden = readGolden('optimizer.json')
  const flat = (tensors: { a: number[][]; b: number[] }) => [...tensors.a.flat(), ...tensors.b]

  it.each(Object.keys(golden.cases))('case %s, gradients given', (name) => {
    const settings = golden.cases[name]
    let state: Moving<Float64Array> = { params: Float64Array.from(flat(golden.initial)), slots: {}, step: 0 }
    settings.steps.forEach((wanted: { params: { a: number[][]; b: number[] } }, step: number) => {
      state = moved(state, Float64Array.from(flat(golden.grads[step])), {
        rule: 'adamw',
        learningRate: settings.lrs[step],
        beta1: settings.betas[0],
        beta2: settings.betas[1],
        epsilon: settings.eps,
        weightDecay: settings.weight_decay,
        clipNorm: settings.grad_clip_norm,
      })
      expect(absoluteDeviation(state.params, flat(wanted.params))).toBeLessThan(1e-12)
    })
  })

  it('clips a divided gradient as PyTorch does, in float32', () => {
    const layout = { ...goldenAdapter('llama-tied', 'r4').layout, sections: [], size: 17 }
    for (const wanted of readGolden('optimizer-rules.json').clips) {
      const adapter = new Adapter(layout, 32, new Float32Array(17))
      adapter.addGradient(Float32Array.from(flat(golden.grads[0])))
      const { divisor, max_norm: maxNorm } = wanted
      const { gradientNorm } = clipGradient(adapter, { operation: 'c', adapter: 'a', divisor, maxNorm, normType: 2 })
      expect(gradientNorm / wanted.norm).toBeCloseTo(1, 6)
      expect(relativeDeviation(adapter.gradient ?? [], flat(wanted.grads))).toBeLessThan(1e-6)
    }
  })

  it.each(Object.keys(readGolden('llama-tied/optim-r4.json').configs))(
    'three steps of llama-tied, %s',
    async (name) => {
      const { configs } = readGolden('llama-tied/optim-r4.json')
      const settings = configs[name]
      const after = goldenTensors('llama-tied/optim-r4.safetensors')
      const datums = readGolden('llama-tied/lora-r4.json').datums.map((d: never) => goldenDatum(d, 'cross_entropy'))
      const adapter = goldenAdapter('llama-tied', 'r4')
      const trainer = await goldenTrainer('llama-tied')
      for (const [i, wanted] of settings.steps.entries()) {
        const [result] = await results(trainer, [{ adapter, item: item(datums) }])
        const request: OptimStep = {
          operation: `step-${i}`,
          adapter: 'a',
          rule: 'adamw',
          learningRate: wanted.lr,
          beta1: settings.betas[0],
          beta2: settings.betas[1],
          epsilon: settings.eps,
          weightDecay: settings.weight_decay,
          clipNorm: settings.grad_clip_norm,
        }
        const { gradientNorm } = optimizerStep(adapter, request)
        expect(Math.abs((result?.loss ?? 0) - wanted.loss_before)).toBeLessThan(
          1e-2 * Math.max(1, Math.abs(wanted.loss_before) * 1e-3),
        )
        expect(Math.abs(gradientNorm / wanted.grad_norm_before_clip - 1)).toBeLessThan(1e-4)
        const params = flatten(new Float64Array(adapter.layout.size), adapter.layout, (n) =>
          after(`${name}/step${i + 1}/${n}`),
        )
        const deviations = adapter.params.map((p, k) => Math.abs(p - (params[k] as number))).sort()
        const rms = Math.hypot(...deviations) / Math.sqrt(deviations.length)
        expect(rms).toBeLessThan(i === 0 ? 1e-6 : 1e-5)
        expect(deviations[Math.floor(deviations.length * 0.999)]).toBeLessThan(i === 0 ? 1e-6 : 5e-5)
        expect(deviations.at(-1)).toBeLessThan(i === 0 ? 1e-6 : 2e-3)
      }
      await trainer.close()
    },
  )
})
