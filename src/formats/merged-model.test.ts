import * as fs from 'node:fs'
import * as path from 'node:path'
import { describe, expect, it } from 'vitest'
import { writeMergedModel } from './merged-model.ts'
import { type ModelFiles, openModelSource } from './model-folder.ts'
import type { LoraPair } from './peft.ts'
import { temporaryFolder } from './testing/temporary-folder.ts'

const GOLDENS = path.join(import.meta.dirname, '../backends/transformers/goldens')
const TIED = openModelSource(path.join(GOLDENS, 'llama-tied/checkpoint'))
const SHARDED = openModelSource(path.join(GOLDENS, 'llama-bf16-sharded/checkpoint'))
const Q = 'model.layers.0.self_attn.q_proj'

/** A = 1 in its first column, B = `b` in its first row: only element [0, 0] of the weight changes, by scale * b. */
function spike(base: ModelFiles, module: string, b: number, scale = 2) {
  const [out, inputs] = base.tensor(module === 'lm_head' ? 'model.embed_tokens.weight' : `${module}.weight`).shape
  const pair: LoraPair & { scale: number } = {
    rank: 1,
    in: inputs as number,
    out: out as number,
    a: Float32Array.from({ length: inputs as number }, (_, i) => (i === 0 ? 1 : 0)),
    b: Float32Array.from({ length: out as number }, (_, i) => (i === 0 ? b : 0)),
    scale,
  }
  return { modules: new Map([[module, pair]]) }
}

function merged(...[base, adapter, dtype]: [ModelFiles, ReturnType<typeof spike>, ('F32' | 'F16' | 'BF16')?]) {
  const folder = temporaryFolder()
  writeMergedModel(folder, base, adapter, dtype)
  const config = JSON.parse(fs.readFileSync(path.join(folder, 'config.json'), 'utf8'))
  return { folder, config, model: openModelSource(folder) }
}

describe('a merged model', () => {
  it('opens like any other, with scale B A in the weight and all else as it was', () => {
    const { model, config } = merged(TIED, spike(TIED, Q, 0.5))
    const name = `${Q}.weight`
    const before = TIED.tensor(name).read()
    const after = model.tensor(name).read()
    expect(after[0]).toBe(Math.fround((before[0] as number) + 1))
    expect(after.subarray(1)).toEqual(before.subarray(1))
    for (const other of TIED.names()) {
      if (other !== name) expect(model.tensor(other).read()).toEqual(TIED.tensor(other).read())
    }
    expect(config).toMatchObject({ dtype: 'float32', torch_dtype: 'float32' })
    expect(Object.keys(model.tokenizerFiles()).sort()).toEqual(Object.keys(TIED.tokenizerFiles()).sort())
  })

  it('keeps the type of the base model, rounded to the nearest', () => {
    const { model, config } = merged(SHARDED, spike(SHARDED, Q, 0.5))
    expect(model.tensor(`${Q}.weight`).dtype).toBe('BF16')
    expect(config.dtype).toBe('bfloat16')
    const before = SHARDED.tensor(`${Q}.weight`).read()[0] as number
    const after = model.tensor(`${Q}.weight`).read()[0] as number
    // bfloat16 has eight bits of precision: half a step is 2^-9 of the number.
    expect(Math.abs(after - (before + 1))).toBeLessThanOrEqual((Math.abs(before) + 1) * 2 ** -9)
  })

  it('gets an output projection of its own where the base model ties it to the embedding', () => {
    const { model, config } = merged(TIED, spike(TIED, 'lm_head', 0.5))
    const embedding = TIED.tensor('model.embed_tokens.weight').read()
    expect(config.tie_word_embeddings).toBe(false)
    expect(model.tensor('model.embed_tokens.weight').read()).toEqual(embedding)
    expect(model.tensor('lm_head.weight').read()[0]).toBe(Math.fround((embedding[0] as number) + 1))
  })

  it('is written in another type on request, and refused where that cannot hold it', () => {
    expect(merged(TIED, spike(TIED, Q, 0.5), 'F16').model.tensor(`${Q}.weight`).dtype).toBe('F16')
    expect(() => merged(TIED, spike(TIED, Q, 1e5), 'F16')).toThrow(/q_proj.weight" has weights that F16 cannot hold/)
  })
})
