import { readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { loraTensorName } from '../../formats/peft.ts'
import { openSafetensors, type TensorData, writeSafetensors } from '../../formats/safetensors.ts'
import { temporaryFolder } from '../../formats/testing/temporary-folder.ts'
import { readIntoAdapter, readSnapshot, writeAdapterFolder } from './adapter-files.ts'
import { optimizerStep } from './optimizer.ts'
import { goldenAdapter, goldenModel, goldenPath } from './testing/goldens.ts'
import { ADAM, bits, freshAdapter, goldenTrainer, item, liveAdapter, results, someDatum } from './testing/harness.ts'

const MODEL = 'llama-tied'
const model = goldenModel(MODEL).config

function saved(adapter = liveAdapter(MODEL), part: 'weights' | 'weights+optimizer' = 'weights') {
  const folder = join(temporaryFolder(), 'adapter')
  writeAdapterFolder(folder, MODEL, adapter, part)
  return folder
}

const config = (folder: string, change: object) => {
  const file = join(folder, 'adapter_config.json')
  writeFileSync(file, JSON.stringify({ ...JSON.parse(readFileSync(file, 'utf8')), ...change }))
  return folder
}

const cut = (folder: string, name: string) => {
  const file = join(folder, name)
  truncateSync(file, statSync(file).size - 100)
  return folder
}

describe('an adapter folder', () => {
  it('of PEFT is read with its numbers where they belong', () => {
    const { params, hash } = readSnapshot(goldenPath(`${MODEL}/adapters/r4-unembed`), model, 64)
    const golden = goldenAdapter(MODEL, 'r4-unembed')
    expect(bits(params)).toBe(bits(golden.params))
    expect(hash).toBe(golden.freeze().hash)
  })

  it('written here is read back bit for bit', () => {
    const adapter = liveAdapter(MODEL, { rank: 3 })
    const copy = freshAdapter(MODEL, { rank: 3, seed: '99' })
    readIntoAdapter(saved(adapter), model, copy, 'weights')
    expect(bits(copy.params)).toBe(bits(adapter.params))
    expect(copy.step).toBe(0)
  })

  it('with optimiser state continues as if nothing had happened', async () => {
    const trainer = await goldenTrainer(MODEL)
    const work = (adapter: typeof whole) => [{ adapter, item: item([someDatum(1, 20)]) }]
    const step = async (adapter: typeof whole) => {
      await results(trainer, work(adapter))
      return optimizerStep(adapter, ADAM)
    }
    const whole = freshAdapter(MODEL)
    for (let i = 0; i < 2; i++) await step(whole)
    const folder = saved(whole, 'weights+optimizer')
    const resumed = freshAdapter(MODEL, { seed: '5' })
    readIntoAdapter(folder, model, resumed, 'weights+optimizer')
    const reset = freshAdapter(MODEL, { seed: '6' })
    readIntoAdapter(folder, model, reset, 'weights')
    const [next, again, other] = [await step(whole), await step(resumed), await step(reset)]
    expect(again).toEqual(next)
    expect(bits(resumed.params)).toBe(bits(whole.params))
    expect(other.step).toBe(1)
    expect(bits(reset.params)).not.toBe(bits(whole.params))
    await trainer.close()
  })

  it('of another scale is folded into B', () => {
    const adapter = liveAdapter(MODEL)
    const folder = config(saved(adapter), { lora_alpha: 64 })
    expect(readSnapshot(folder, model, 64).alpha).toBe(64)
    expect(bits(readSnapshot(folder, model, 64).params)).toBe(bits(adapter.params))
    const copy = freshAdapter(MODEL)
    readIntoAdapter(folder, model, copy, 'weights')
    const { b = 0 } = copy.layout.sections[0] ?? {}
    expect(copy.params[b]).toBe(2 * (adapter.params[b] as number))
    expect(copy.params[0]).toBe(adapter.params[0])
  })

  it('with a smaller rank in one module is filled up with zeros', () => {
    const adapter = liveAdapter(MODEL, { trainMlp: false, trainUnembed: false })
    const folder = saved(adapter)
    const file = join(folder, 'adapter_model.safetensors')
    const tensors = new Map<string, TensorData>()
    for (const [name, tensor] of openSafetensors(file)) tensors.set(name, { shape: tensor.shape, data: tensor.read() })
    const module = 'model.layers.1.self_attn.v_proj'
    tensors.set(loraTensorName(module, 'A'), { shape: [1, 64], data: new Float32Array(64).fill(1) })
    tensors.set(loraTensorName(module, 'B'), { shape: [32, 1], data: new Float32Array(32).fill(1) })
    writeSafetensors(file, tensors)
    const { params, layout } = readSnapshot(config(folder, { rank_pattern: { [module]: 1 } }), model, 64)
    const v = layout.sections.find((s) => s.projection === 'v')
    const a = (v?.a ?? 0) + 4 * 64
    expect([...params.subarray(a + 63, a + 65)]).toEqual([1, 0])
    // alpha / 1 of the file is 4 times the scale alpha / 4 of the whole.
    const b = (v?.b ?? 0) + 4 * 32
    expect([...params.subarray(b + 31, b + 33)]).toEqual([4, 0])
  })
})

describe('a folder that does not fit is refused and leaves the adapter as it was', () => {
  it.each([
    ['another rank', () => saved(liveAdapter(MODEL, { rank: 8 })), /has rank 8 \(module .*\), this adapter 4/],
    [
      'other projections',
      () => saved(liveAdapter(MODEL, { trainMlp: false })),
      /has no weights for module model.layers.0.mlp.gate_proj, which this adapter trains/,
    ],
    ['no optimiser state', () => saved(), /optimizer.safetensors: no such file/],
    ['weights that are cut off', () => cut(saved(), 'adapter_model.safetensors'), /adapter_model.safetensors/],
    [
      'optimiser state that is cut off',
      () => cut(saved(liveAdapter(MODEL), 'weights+optimizer'), 'optimizer.safetensors'),
      /optimizer/,
    ],
    ['DoRA', () => config(saved(), { use_dora: true }), /use_dora: true is not supported/],
    ['nothing in it', () => temporaryFolder(), /adapter_config.json: no such file/],
  ])('%s', (_, folder, sentence) => {
    const adapter = liveAdapter(MODEL)
    const before = bits(adapter.params)
    expect(() => readIntoAdapter(folder(), model, adapter, 'weights+optimizer')).toThrow(
      expect.objectContaining({ code: 'INVALID_ADAPTER', message: expect.stringMatching(sentence) }),
    )
    expect(bits(adapter.params)).toBe(before)
  })
})
