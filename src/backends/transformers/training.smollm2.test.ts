// Five steps of fine-tuning a real pretrained model, SmolLM2-135M-Instruct, against reference numbers (goldens/README.md):
// losses, gradient norms and the final adapter within 1e-3. Runs where `node scripts/fetch-smollm2.mjs` has put the file.

import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { openModelSource } from '../../formats/model-folder.ts'
import { Adapter } from './adapter.ts'
import { type AdapterLayout, adapterLayout } from './adapter-layout.ts'
import { Compute } from './compute.ts'
import { modulePlaces } from './module-names.ts'
import { optimizerStep } from './optimizer.ts'
import { readGolden } from './testing/goldens.ts'
import { ADAM, item, results } from './testing/harness.ts'
import { Trainer } from './trainer.ts'
import { mappedWeights } from './weights.ts'

const ROOT = join(import.meta.dirname, '../../..')
const FILE = join(ROOT, '.cache/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf')
const { sft } = readGolden('smollm2-135m.json')

/** The reference's start: A from a linear congruential generator seeded with 1 + the module's index, layer by layer. */
function portableStart(layout: AdapterLayout): Float32Array {
  const params = new Float32Array(layout.size)
  const order = (path: string) =>
    Number(/layers\.(\d+)/.exec(path)?.[1]) * 7 + sft.targets.findIndex((t: string) => path.endsWith(t))
  const modules = modulePlaces(layout).sort((x, y) => order(x.path) - order(y.path))
  modules.forEach(({ a, in: width }, index) => {
    let state = 1 + index
    for (let i = 0; i < layout.rank * width; i++) {
      state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
      params[a + i] = (2 * (state / 2 ** 32) - 1) / Math.sqrt(width)
    }
  })
  return params
}

const relative = (found: number, wanted: number) => Math.abs(found / wanted - 1)

describe.skipIf(!existsSync(FILE))('SmolLM2-135M-Instruct', () => {
  it('learns four answers as the reference does', async () => {
    const files = openModelSource(FILE)
    const weights = mappedWeights(files, join(ROOT, '.cache'))
    const trainer = await Trainer.create(files.config, weights, { threads: 2, compute: new Compute() })
    const layout = adapterLayout(files.config, ['q', 'k', 'v', 'o', 'gate', 'up', 'down'], sft.r)
    expect(layout.size).toBe(sft.lora_parameters)
    const adapter = new Adapter(layout, sft.alpha, portableStart(layout))
    const datums = sft.datums.map((d: { model_input: number[]; target_tokens: number[]; weights: number[] }) => ({
      tokens: Int32Array.from(d.model_input),
      targets: Int32Array.from(d.target_tokens),
      width: 1,
      weights: Float32Array.from(d.weights),
    }))
    for (const [step, wanted] of sft.steps.entries()) {
      const isLast = wanted.grad_norm === null
      const [result] = await results(trainer, [{ adapter, item: item(datums, { backward: !isLast }) }])
      expect(relative(result?.loss ?? Number.NaN, wanted.loss_sum), `loss after ${step} steps`).toBeLessThan(1e-3)
      if (isLast) break
      const { gradientNorm } = optimizerStep(adapter, { ...ADAM, learningRate: sft.adam.lr })
      expect(relative(gradientNorm, wanted.grad_norm), `norm after ${step} steps`).toBeLessThan(1e-3)
    }
    for (const { path, in: width, out, a, b } of modulePlaces(layout)) {
      const sum = (offset: number, size: number) =>
        adapter.params.subarray(offset, offset + size).reduce((s, x) => s + Math.abs(x), 0)
      const wanted = sft.final_abs_sum[`${path}.lora_A`]
      if (wanted === undefined) continue
      expect(relative(sum(a, layout.rank * width), wanted), path).toBeLessThan(1e-3)
      expect(relative(sum(b, layout.rank * out), sft.final_abs_sum[`${path}.lora_B`]), path).toBeLessThan(1e-3)
    }
    await trainer.close()
  }, 300_000)
})
